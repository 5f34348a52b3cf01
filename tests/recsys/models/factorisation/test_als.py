"""ALS: the fold-in is the normal equation, and taste is found."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.models.factorisation.als import ALSConfig, ALSModel, fit_als


@pytest.fixture
def model(random_shop: TrainingData) -> ALSModel:
    config = ALSConfig(embedding_size=8, alpha=3.0, reg=0.5)
    return fit_als(random_shop, config, rng=np.random.default_rng(0))


def test_the_fold_in_is_the_solution_of_the_normal_equation(
    random_shop: TrainingData, model: ALSModel
) -> None:
    factors = model.item_factors.astype(np.float64)
    for user in range(len(random_shop.users)):
        row = random_shop.interactions[[user]].toarray().ravel().astype(np.float64)
        # x = (Yᵀ C Y + λI)⁻¹ Yᵀ C p with C over all items: 1 where nothing is known.
        confidence = np.where(row > 0, model.alpha * row, 1.0)
        matrix = factors.T @ (confidence[:, None] * factors) + model.reg * np.eye(8)
        expected = np.linalg.solve(matrix, factors.T @ (confidence * (row > 0)))
        history = random_shop.history(user, now=random_shop.as_of)
        results = model.fold_in(*history.totals())
        np.testing.assert_allclose(results, expected, rtol=1e-4, atol=1e-6)


def test_the_fold_in_follows_the_convention_of_implicit(
    random_shop: TrainingData, model: ALSModel
) -> None:
    with threadpool_limits(1, "blas"):
        peer = AlternatingLeastSquares(8, regularization=0.5, alpha=3.0, num_threads=1)
        peer.item_factors = model.item_factors
        everybody = np.arange(len(random_shop.users))
        expected = peer.recalculate_user(everybody, csr_matrix(random_shop.interactions))
    for user in everybody:
        history = random_shop.history(int(user), now=random_shop.as_of)
        np.testing.assert_allclose(
            model.fold_in(*history.totals()), expected[user], rtol=1e-3, atol=1e-4
        )


def test_a_taste_is_found(checkerboard: TrainingData) -> None:
    model = fit_als(
        checkerboard, ALSConfig(embedding_size=2, reg=0.1), rng=np.random.default_rng(0)
    )
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    for query, results in zip(
        queries,
        model.condition(queries).retrieve(10, np.ones(20, np.bool_)),
        strict=True,
    ):
        assert set(results.numbers % 2) == {int(query.history.items[0]) % 2}


def test_the_number_of_threads_does_not_change_the_factors(random_shop: TrainingData) -> None:
    first, second = (
        fit_als(random_shop, ALSConfig(threads=threads), rng=np.random.default_rng(4))
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(first.item_factors, second.item_factors)


def test_the_contributions_add_up_to_the_score(random_shop: TrainingData, model: ALSModel) -> None:
    query = random_shop.queries(["u:p01"], now=random_shop.as_of)[0]
    scorer = model.condition([query])
    item = int(scorer.retrieve(1, np.ones(25, np.bool_))[0].numbers[0])
    shares = {part.item: part.share for part in scorer.explain(0, item)}
    items, weights = query.history.totals()
    factors = model.item_factors.astype(np.float64)
    inverse = np.linalg.inv(
        factors.T @ factors
        + factors[items].T @ ((model.alpha * weights - 1)[:, None] * factors[items])
        + model.reg * np.eye(8)
    )
    parts = model.alpha * weights * (factors[items] @ inverse @ factors[item])
    assert parts.sum() == pytest.approx(float(scorer.score([np.array([item])])[0][0]), rel=1e-4)
    for number, part in zip(items.tolist(), parts.tolist(), strict=True):
        assert shares[number] == pytest.approx(part / np.abs(parts).sum(), rel=1e-4, abs=1e-6)


def test_an_item_that_nobody_touched_gets_no_score(
    random_shop: TrainingData, model: ALSModel
) -> None:
    query = random_shop.queries(["u:p01"], now=random_shop.as_of)
    untouched = random_shop.items.numbers(["i24"])
    assert np.isnan(model.condition(query).score([untouched])[0]).all()
