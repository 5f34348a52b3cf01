"""The compiled selection beside its slow references in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.kernels import (
    NO_MASK,
    best_of_all,
    best_of_pairs,
    looked_up,
    scaled_into,
    summed,
    union,
)

SEEDS = st.integers(0, 10_000)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct numbers below 200, ascending, with scores of few values, some of them missing."""
    rng = np.random.default_rng(seed)
    numbers = np.flatnonzero(rng.random(200) < 0.6).astype(np.int32)
    scores = rng.choice(np.array([np.nan, -1, 0, 1, 2, 3], np.float32), len(numbers))
    return numbers, scores


@settings(deadline=None, max_examples=100)
@given(SEEDS, st.integers(1, 40))
def test_the_best_are_those_of_a_full_sort_in_any_order_of_the_pairs(seed: int, n: int) -> None:
    numbers, scores = drawn(seed)
    rng = np.random.default_rng(seed)
    allow = rng.random(200) < 0.7
    kept = np.isfinite(scores) & allow[numbers]
    order = np.lexsort((numbers[kept], -scores[kept]))[:n]
    shuffled = rng.permutation(len(numbers))
    for places in (np.arange(len(numbers)), shuffled):
        best, their_scores = best_of_pairs(numbers[places], scores[places], allow, n)
        assert best.tolist() == numbers[kept][order].tolist()
        assert their_scores.tolist() == scores[kept][order].tolist()


@settings(deadline=None, max_examples=100)
@given(SEEDS, st.integers(1, 40))
def test_both_masks_hold_for_dense_scores(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.array([np.nan, -np.inf, 0, 1, 2], np.float32), 300)
    allow, also = rng.random(300) < 0.6, rng.random(300) < 0.6
    numbers = np.flatnonzero(np.isfinite(scores) & allow & also)
    expected = numbers[np.lexsort((numbers, -scores[numbers]))][:n]
    assert best_of_all(scores, allow, also, n)[0].tolist() == expected.tolist()


@settings(deadline=None, max_examples=100)
@given(SEEDS)
def test_a_union_is_distinct_ascending_and_without_the_hidden(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 150, 90).astype(np.int32)
    hidden = rng.integers(-5, 170, 30).astype(np.int32)
    expected = sorted(set(numbers.tolist()) - set(hidden.tolist()))
    assert union(numbers, hidden, 150).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(SEEDS)
def test_what_is_looked_up_in_any_order_is_its_score_or_missing(seed: int) -> None:
    numbers, scores = drawn(seed)
    asked = np.random.default_rng(seed).integers(0, 200, 50).astype(np.int32)
    known = dict(zip(numbers.tolist(), scores.tolist(), strict=True))
    expected = np.array([known.get(number, np.nan) for number in asked.tolist()], np.float32)
    np.testing.assert_array_equal(looked_up(numbers, scores, asked), expected)
    np.testing.assert_array_equal(
        looked_up(numbers, scores, np.sort(asked)),
        np.array([known.get(number, np.nan) for number in sorted(asked.tolist())], np.float32),
    )


def test_parts_are_scaled_by_the_norm_of_what_was_retrieved() -> None:
    part = np.empty(3, np.float32)
    scaled_into(part, np.array([3, np.nan, -1], np.float32), np.array([3, 4, -9], np.float32))
    np.testing.assert_allclose(part, [0.6, 0, 0])
    scaled_into(part, np.array([3, 1, 1], np.float32), np.empty(0, np.float32))
    assert part.tolist() == [0, 0, 0]


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_sums_per_number_and_of_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 12, 40).astype(np.int32)
    weights = rng.normal(0, 1, 40).astype(np.float32)
    distinct, sums, sizes = summed(numbers, weights)
    assert distinct.tolist() == sorted(set(numbers.tolist()))
    for number, total, size in zip(distinct.tolist(), sums, sizes, strict=True):
        np.testing.assert_allclose(total, weights[numbers == number].sum(), atol=1e-5)
        np.testing.assert_allclose(size, np.abs(weights[numbers == number]).sum(), rtol=1e-5)


def test_no_mask_allows_everything() -> None:
    assert best_of_all(np.array([1, 2], np.float32), NO_MASK, NO_MASK, 5)[0].tolist() == [1, 0]
