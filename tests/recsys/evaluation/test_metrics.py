"""The metrics against ir-measures and against tables worked out by hand."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, P, R, ScoredDoc, Success, nDCG

from recsys.evaluation.metrics import (
    catalogue_coverage,
    hit_rate_at_k,
    ndcg_at_k,
    novelty,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)
from recsys.ids import NONE, Numbers

MEASURES = [
    (recall_at_k, R),
    (precision_at_k, P),
    (ndcg_at_k, nDCG),
    (hit_rate_at_k, Success),
    (reciprocal_rank_at_k, RR),
]


def numbers(*items: int) -> Numbers:
    return np.array(items, np.int32)


@pytest.fixture(scope="module")
def lists() -> tuple[list[Numbers], list[Numbers]]:
    """200 queries: lists of 0 to 25 items, truths of 1 to 15, out of 40."""
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(40).astype(np.int32) for _ in range(400)]
    return (
        [order[: rng.integers(0, 26)] for order in shuffled[:200]],
        [order[: rng.integers(1, 16)] for order in shuffled[200:]],
    )


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize(("ours", "theirs"), MEASURES)
def test_every_query_gets_what_ir_measures_gives(
    ours: object, theirs: object, k: int, lists: tuple[list[Numbers], list[Numbers]]
) -> None:
    recommended, truth = lists
    qrels = [
        ir_measures.Qrel(f"{query:03}", str(item), 1)
        for query, items in enumerate(truth)
        for item in items
    ]
    run = [
        ScoredDoc(f"{query:03}", str(item), float(-rank))
        for query, items in enumerate(recommended)
        for rank, item in enumerate(items)
    ]
    measure = theirs @ k  # type: ignore[operator]
    expected = np.zeros(len(truth))
    for measured in ir_measures.iter_calc([measure], qrels, run):
        expected[int(measured.query_id)] = measured.value
    values = ours(recommended, truth, k)  # type: ignore[operator]
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_a_query_without_truth_is_nan(lists: tuple[list[Numbers], list[Numbers]]) -> None:
    for ours, _ in MEASURES:
        values = ours([numbers(1, 2), numbers(1)], [NONE, numbers(1)], 5)
        assert np.isnan(values[0])
        assert values[1] > 0


def test_no_queries_give_no_values() -> None:
    for ours, _ in MEASURES:
        assert len(ours([], [], 5)) == 0


def test_a_k_below_one_and_unequal_numbers_of_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        recall_at_k([numbers(1)], [numbers(1)], 0)
    with pytest.raises(ValueError, match="1 lists for 2 truths"):
        recall_at_k([numbers(1)], [numbers(1), numbers(2)], 3)


def test_coverage_is_the_share_of_items_in_some_list() -> None:
    assert catalogue_coverage([numbers(0, 1, 5), numbers(1, 2)], 2, n_items=10) == 0.3
    assert np.isnan(catalogue_coverage([], 2, n_items=0))


def test_novelty_is_the_mean_surprise_of_a_list() -> None:
    counts = np.array([8.0, 4.0, 4.0, 0.0])
    values = novelty([numbers(0, 1), numbers(3), NONE, numbers(0, 3)], 1, counts=counts)
    np.testing.assert_allclose(values, [1.0, 4.0, np.nan, 1.0])
    assert novelty([numbers(0, 1)], 2, counts=counts)[0] == pytest.approx(1.5)
