"""Reordering a given list: scales, the cap on how far an item moves, and what goes last."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from recsys.recommend.rerank_scores import engine_ranks, engine_scores, order_within, scaled

NOBODY = np.zeros(6, np.bool_)


def order(
    totals: list[float], *, max_shift: int | None = None, last: np.ndarray = NOBODY
) -> list[int]:
    ranks = np.arange(len(totals))
    scores = np.array(totals, np.float32)
    return order_within(scores, ranks, max_shift=max_shift, last=last[: len(totals)]).tolist()


def test_no_item_moves_further_than_the_cap() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        n, cap = int(rng.integers(1, 12)), int(rng.integers(0, 6))
        shifted = order_within(
            rng.random(n).astype(np.float32), np.arange(n), max_shift=cap, last=np.zeros(n, bool)
        )
        assert sorted(shifted.tolist()) == list(range(n))
        assert (np.abs(shifted - np.arange(n)) <= cap).all()


def test_within_the_cap_the_best_comes_first() -> None:
    """No order that the cap allows is lexicographically better."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        totals = rng.permutation(6).astype(np.float32)
        allowed = [
            candidate
            for candidate in permutations(range(6))
            if max(abs(item - rank) for rank, item in enumerate(candidate)) <= 2
        ]
        best = max(allowed, key=lambda candidate: [totals[item] for item in candidate])
        assert order(totals.tolist(), max_shift=2) == list(best)


def test_a_cap_of_zero_keeps_the_engines_order_and_none_is_no_cap() -> None:
    assert order([0.1, 0.5, 0.9], max_shift=0) == [0, 1, 2]
    assert order([0.1, 0.5, 0.9], max_shift=3) == order([0.1, 0.5, 0.9]) == [2, 1, 0]


def test_equal_totals_stand_as_the_engine_had_them() -> None:
    ranks = np.array([2, 0, 1])
    same = np.ones(3, np.float32)
    for cap in (None, 1):
        shifted = order_within(same, ranks, max_shift=cap, last=np.zeros(3, bool))
        assert shifted.tolist() == [1, 2, 0]


def test_what_was_refused_goes_to_the_end_however_far_that_is() -> None:
    last = np.array([True, False, False, True, False])
    assert order([9, 1, 2, 8, 3], max_shift=1, last=last) == [2, 1, 4, 0, 3]


def test_the_engine_speaks_by_position_and_by_score_where_it_gave_one() -> None:
    unknown = np.full(3, np.nan, np.float32)
    assert engine_scores(unknown) == pytest.approx(1 / np.log2([2, 3, 4]))
    scores = np.array([1.0, 5.0, 3.0], np.float32)
    assert engine_ranks(scores).tolist() == [2, 0, 1]
    by_rank = 1 / np.log2([4, 2, 3])
    assert engine_scores(scores) == pytest.approx((by_rank + np.array([0.0, 1.0, 0.5])) / 2)
    some = np.array([1.0, np.nan, 3.0], np.float32)
    assert engine_scores(some) == pytest.approx(1 / np.log2([2, 3, 4]))
    assert engine_scores(np.empty(0, np.float32)).tolist() == []


def test_scores_are_scaled_to_the_best_of_the_list() -> None:
    scores = np.array([4.0, np.nan, 1.0, -2.0], np.float32)
    assert scaled(scores).tolist() == [1.0, 0.0, 0.5, 0.0]
    assert scaled(np.array([-1.0, np.nan], np.float32)).tolist() == [0.0, 0.0]
