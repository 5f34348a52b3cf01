"""iALS: the compiled solver against the equations written out, the loss, and the fold-in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidConfig
from recsys.models.factorisation.block_solver import Penalty, improve
from recsys.models.factorisation.ials import IALSConfig, IALSModel, fit_ials

PENALTY = Penalty(ridge=0.2, exponent=0.5, unobserved=0.1)


@pytest.fixture
def observed() -> csr_array:
    """40 rows, 30 columns, uneven weights; row 0 is empty."""
    rng = np.random.default_rng(1)
    dense = rng.gamma(2.0, 1.0, (40, 30)) * (rng.random((40, 30)) < 0.2)
    dense[0] = 0.0
    return csr_array(dense.astype(np.float32))


@pytest.fixture
def model(random_shop: TrainingData) -> IALSModel:
    config = IALSConfig(embedding_size=8, reg=0.3, frequency_exponent=0.5, block=3)
    return fit_ials(random_shop, config, rng=np.random.default_rng(0))


def exact(observed: csr_array, fixed: np.ndarray, penalty: Penalty) -> np.ndarray:
    """x = (Yᵀ C Y + α₀ YᵀY + λ (Σc + α₀ n)^ν I)⁻¹ Yᵀ C 1, row by row, in float64."""
    wide = fixed.astype(np.float64)
    solved = np.zeros((observed.shape[0], fixed.shape[1]))
    for row, weights in enumerate(observed.toarray().astype(np.float64)):
        ridge = penalty.ridge * (weights.sum() + penalty.unobserved * len(fixed))
        ridge *= (weights.sum() + penalty.unobserved * len(fixed)) ** (penalty.exponent - 1)
        confidence = weights + penalty.unobserved
        matrix = wide.T @ (confidence[:, None] * wide) + ridge * np.eye(fixed.shape[1])
        solved[row] = np.linalg.solve(matrix, wide.T @ weights)
    return solved


def loss(rows: np.ndarray, observed: csr_array, fixed: np.ndarray, penalty: Penalty) -> float:
    """Σ c (1 − x·y)² + α₀ Σ (x·y)² + Σ ridge_u ‖x_u‖²."""
    weights = observed.toarray().astype(np.float64)
    scores = rows.astype(np.float64) @ fixed.T.astype(np.float64)
    ridges = penalty.ridges(weights.sum(axis=1), len(fixed))
    return float(
        (weights * (1 - scores) ** 2).sum()
        + penalty.unobserved * (scores**2).sum()
        + (ridges * (rows.astype(np.float64) ** 2).sum(axis=1)).sum()
    )


@pytest.mark.parametrize("width", [1, 7, 8, 19, 40])
def test_one_block_solves_the_normal_equations(observed: csr_array, width: int) -> None:
    rng = np.random.default_rng(2)
    fixed = rng.normal(size=(30, width)).astype(np.float32)
    factors = rng.normal(size=(40, width)).astype(np.float32)
    improve(factors, observed, fixed, PENALTY, n_columns=30, block=width)
    np.testing.assert_allclose(factors, exact(observed, fixed, PENALTY), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("block", [1, 4, 5, 64])
def test_blocks_never_worsen_the_loss_and_end_at_the_same_place(
    observed: csr_array, block: int
) -> None:
    rng = np.random.default_rng(3)
    fixed = rng.normal(size=(30, 12)).astype(np.float32)
    factors = np.zeros((40, 12), np.float32)
    before = loss(factors, observed, fixed, PENALTY)
    for _ in range(150):
        improve(factors, observed, fixed, PENALTY, n_columns=30, block=block)
        after = loss(factors, observed, fixed, PENALTY)
        assert after <= before * (1 + 1e-5)
        before = after
    np.testing.assert_allclose(factors, exact(observed, fixed, PENALTY), rtol=1e-2, atol=2e-3)


def test_the_error_is_that_of_the_observed_pairs_after_the_step(observed: csr_array) -> None:
    fixed = np.random.default_rng(4).normal(size=(30, 6)).astype(np.float32)
    factors = np.zeros((40, 6), np.float32)
    converged = improve(factors, observed, fixed, PENALTY, n_columns=30, block=3)
    weights = observed.toarray()
    assert converged == pytest.approx(
        float((weights * (1 - factors @ fixed.T) ** 2).sum()), rel=1e-4
    )


def test_a_row_without_interactions_is_zero(observed: csr_array) -> None:
    fixed = np.ones((30, 4), np.float32)
    factors = np.ones((40, 4), np.float32)
    improve(factors, observed, fixed, PENALTY, n_columns=30, block=4)
    assert not factors[0].any()
    assert factors[1].any()


def test_equations_without_a_solution_are_refused(observed: csr_array) -> None:
    with pytest.raises(InvalidConfig, match="reg"):
        improve(
            np.zeros((40, 4), np.float32),
            observed,
            np.full((30, 4), np.nan, np.float32),
            PENALTY,
            n_columns=30,
            block=4,
        )


def test_the_told_loss_never_rises(
    random_shop: TrainingData,
) -> None:
    converged: list[float] = []
    config = IALSConfig(embedding_size=6, reg=0.5, frequency_exponent=0.3, epochs=8, block=4)
    fit_ials(
        random_shop,
        config,
        rng=np.random.default_rng(0),
        progress=lambda epoch, value: converged.append(value),
    )
    assert len(converged) == 8
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in pairwise(converged))


def test_the_number_of_threads_does_not_change_the_factors(random_shop: TrainingData) -> None:
    first, second = (
        fit_ials(random_shop, IALSConfig(threads=threads), rng=np.random.default_rng(4))
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(first.item_factors, second.item_factors)


def test_the_fold_in_solves_the_equation_of_training(
    random_shop: TrainingData, model: IALSModel
) -> None:
    touched = model.item_factors[model.touched]
    expected = exact(
        csr_array(random_shop.interactions[:, np.flatnonzero(model.touched)]),
        touched,
        model.penalty,
    )
    for user in range(len(random_shop.users)):
        totals = random_shop.history(user, now=random_shop.as_of).totals()
        np.testing.assert_allclose(model.fold_in(*totals), expected[user], rtol=1e-3, atol=1e-5)


def test_more_regularisation_for_frequent_rows_shrinks_them_more(
    random_shop: TrainingData,
) -> None:
    flat, scaled = (
        fit_ials(
            random_shop,
            IALSConfig(embedding_size=4, reg=0.5, frequency_exponent=exponent),
            rng=np.random.default_rng(0),
        )
        for exponent in (0.0, 1.0)
    )
    assert np.linalg.norm(scaled.item_factors) < np.linalg.norm(flat.item_factors)


def test_a_taste_is_found(checkerboard: TrainingData) -> None:
    config = IALSConfig(embedding_size=2, reg=0.1)
    model = fit_ials(checkerboard, config, rng=np.random.default_rng(0))
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    factors = model.condition(queries).retrieve(10, np.ones(20, np.bool_))
    for query, scored in zip(queries, factors, strict=True):
        assert set(scored.numbers % 2) == {int(query.history.items[0]) % 2}


def test_an_item_that_nobody_touched_gets_no_score(
    random_shop: TrainingData, model: IALSModel
) -> None:
    query = random_shop.queries(["u:p01"], now=random_shop.as_of)
    untouched = random_shop.items.numbers(["i24"])
    assert np.isnan(model.condition(query).score([untouched])[0]).all()
