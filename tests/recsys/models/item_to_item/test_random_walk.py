"""Random walk and item-item neighbours against dense, slow references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.models.item_to_item.item_item import ItemItemConfig, fit_item_item
from recsys.models.item_to_item.random_walk import RandomWalkConfig, fit_random_walk
from recsys.models.scoring import neighbours as neighbours_module
from recsys.models.scoring import sparse_scores
from recsys.models.scoring.decayed import decayed_interactions

RNG = np.random.default_rng(0)
Reader = Callable[..., TrainingData]


def walk_reference(
    out: NDArray[np.float64], back: NDArray[np.float64], *, alpha: float, beta: float
) -> NDArray[np.float64]:
    """W = (Di⁻¹ Rᵀ)^α (Du⁻¹ R)^α Dp^−β, dense."""
    to_users = out.T / np.maximum(out.sum(axis=0), 1e-30)[:, None]
    to_items = back / np.maximum(back.sum(axis=1), 1e-30)[:, None]
    users = np.maximum((back > 0).sum(axis=0), 1)
    return np.asarray((to_users**alpha) @ (to_items**alpha) / users**beta)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.4), (0.7, 0.2)])
def test_unpruned_it_is_the_published_formula(
    random_shop: TrainingData, alpha: float, beta: float
) -> None:
    matrix = random_shop.interactions.toarray().astype(np.float64)
    config = RandomWalkConfig(neighbours=None, alpha=alpha, beta=beta, keep_self=True)
    computed = fit_random_walk(random_shop, config, rng=RNG).weights.toarray()
    expected = walk_reference(matrix, matrix, alpha=alpha, beta=beta)
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-7)


def test_p3_is_a_distribution_over_where_a_walk_ends(random_shop: TrainingData) -> None:
    config = RandomWalkConfig(neighbours=None, beta=0.0, keep_self=True)
    sums = fit_random_walk(random_shop, config, rng=RNG).weights.sum(axis=1)
    np.testing.assert_allclose(sums[:24], 1.0, rtol=1e-5)


def test_what_has_decayed_to_nothing_gives_no_infinite_steps(random_shop: TrainingData) -> None:
    matrix = random_shop.interactions.tocoo()
    faded = np.where(matrix.col == 3, np.float32(1e-42), matrix.data)
    old = csr_array((faded, (matrix.row, matrix.col)), shape=matrix.shape)
    config = RandomWalkConfig(neighbours=None, keep_self=True)
    weights = fit_random_walk(replace(random_shop, interactions=old), config, rng=RNG).weights
    assert np.isfinite(weights.data).all()
    assert weights.toarray()[3].sum() == 0
    assert weights.toarray()[0].sum() > 0


def test_pruning_keeps_the_heaviest_neighbours_and_drops_the_item_itself(
    random_shop: TrainingData,
) -> None:
    whole = fit_random_walk(random_shop, RandomWalkConfig(neighbours=None), rng=RNG).weights
    pruned = fit_random_walk(random_shop, RandomWalkConfig(neighbours=4), rng=RNG).weights
    assert whole.diagonal().sum() == 0
    for item in range(25):
        row = whole.toarray()[item]
        kept = pruned.toarray()[item]
        assert (kept > 0).sum() == min(4, (row > 0).sum())
        np.testing.assert_array_equal(np.sort(kept[kept > 0]), np.sort(row[row > 0])[-4:])


def test_the_matrix_does_not_depend_on_how_it_was_cut(
    random_shop: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_random_walk(random_shop, RandomWalkConfig(neighbours=5), rng=RNG).weights
    monkeypatch.setattr(neighbours_module, "MULTIPLICATIONS_AT_ONCE", 200)
    cut = fit_random_walk(random_shop, RandomWalkConfig(neighbours=5), rng=RNG).weights
    np.testing.assert_array_equal(whole.toarray(), cut.toarray())


def test_the_last_step_can_forget_faster_than_the_first(random_shop: TrainingData) -> None:
    config = RandomWalkConfig(
        neighbours=None, beta=0.0, half_life_days=90, target_half_life_days=10, keep_self=True
    )
    computed = fit_random_walk(random_shop, config, rng=RNG).weights.toarray()
    out, back = (
        decayed_interactions(random_shop, half_life_days=days).toarray().astype(np.float64)
        for days in (90, 10)
    )
    np.testing.assert_allclose(
        computed, walk_reference(out, back, alpha=1, beta=0), rtol=1e-3, atol=1e-6
    )


def test_decayed_interactions_at_the_own_half_life_are_the_interactions(
    random_shop: TrainingData,
) -> None:
    again = decayed_interactions(random_shop, half_life_days=60.0)
    np.testing.assert_allclose(
        again.toarray(), random_shop.interactions.toarray(), rtol=1e-5, atol=1e-8
    )


def test_item_item_is_the_shrunk_cosine(random_shop: TrainingData) -> None:
    config = ItemItemConfig(neighbours=None, shrinkage=3.0, binary=False)
    computed = fit_item_item(random_shop, config, rng=RNG).weights.toarray()
    matrix = random_shop.interactions.toarray().astype(np.float64)
    lengths = np.maximum(np.linalg.norm(matrix, axis=0), 1e-30)
    both = (matrix > 0).astype(float).T @ (matrix > 0)
    expected = (matrix.T @ matrix) / np.outer(lengths, lengths) * both / (both + 3.0)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-7)


def test_a_long_batch_is_scored_in_spans_with_the_same_result(
    random_shop: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_random_walk(random_shop, RandomWalkConfig(), rng=RNG)
    queries = random_shop.queries(random_shop.users.ids(), now=random_shop.as_of)
    everything = np.ones(25, np.bool_)
    numbers = [np.arange(25, dtype=np.int32)] * len(queries)
    whole = model.condition(queries)
    monkeypatch.setattr(sparse_scores, "ENTRIES_AT_ONCE", 60)
    spans = model.condition(queries)
    for left, right in zip(
        whole.retrieve(9, everything), spans.retrieve(9, everything), strict=True
    ):
        np.testing.assert_array_equal(left.numbers, right.numbers)
    np.testing.assert_array_equal(whole.score(numbers), spans.score(numbers))
    item = int(whole.retrieve(1, everything)[3].numbers[0])
    assert whole.explain(3, item) == spans.explain(3, item)


def test_the_score_is_the_history_times_the_matrix(random_shop: TrainingData) -> None:
    model = fit_random_walk(random_shop, RandomWalkConfig(neighbours=6), rng=RNG)
    queries = random_shop.queries(random_shop.users.ids(), now=random_shop.as_of)
    expected = random_shop.interactions.toarray() @ model.weights.toarray()
    computed = model.condition(queries).score([np.arange(25, dtype=np.int32)] * len(queries))
    np.testing.assert_allclose(np.nan_to_num(computed), expected, rtol=1e-4, atol=1e-7)


def test_on_a_page_the_page_counts_and_not_the_history(checkerboard: TrainingData) -> None:
    """A lover of even items looks at an odd one: what is similar is odd."""
    model = fit_item_item(checkerboard, ItemItemConfig(shrinkage=0.0), rng=RNG)
    query = checkerboard.queries(["u:p00"], now=checkerboard.as_of)[0]
    page = replace(query, seeds=checkerboard.items.numbers(["i03"]))
    computed = model.condition([query, page]).retrieve(9, np.ones(20, np.bool_))
    assert set(computed[0].numbers % 2) == {0}
    assert set(computed[1].numbers % 2) == {1}
    assert 3 not in computed[1].numbers
