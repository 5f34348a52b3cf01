"""`top_n`: the only place that sorts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recsys.ids import Numbers
from recsys.models.scoring.top_n import top_n, top_n_of

NAN = float("nan")


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def numbers(*values: int) -> Numbers:
    return np.array(values, np.int32)


def test_the_best_come_first_and_ties_go_to_the_lower_number() -> None:
    best = top_n(scores(1, 3, 2, 3), 3)
    assert best.numbers.tolist() == [1, 3, 2]
    assert best.scores.tolist() == [3, 3, 2]


def test_ties_at_the_edge_go_to_the_lower_number() -> None:
    assert top_n(scores(1, 2, 1, 1, 1), 3).numbers.tolist() == [1, 0, 2]


def test_no_opinion_never_appears() -> None:
    assert top_n(scores(NAN, 1, -np.inf, NAN), 4).numbers.tolist() == [1]
    assert len(top_n(scores(NAN, NAN), 2)) == 0


def test_excluded_and_disallowed_items_never_appear() -> None:
    allow = np.array([True, True, False, True])
    best = top_n(scores(4, 3, 2, 1), 4, exclude=numbers(0), allow=allow)
    assert best.numbers.tolist() == [1, 3]


def test_the_length_asked_for_is_kept_when_items_are_excluded() -> None:
    assert len(top_n(scores(4, 3, 2, 1), 2, exclude=numbers(0, 1))) == 2


def test_the_scores_given_are_left_as_they_are() -> None:
    given_scores = scores(4, 3, 2)
    top_n(given_scores, 1, exclude=numbers(0))
    assert given_scores.tolist() == [4, 3, 2]


def test_pairs_follow_the_same_rules() -> None:
    best = top_n_of(numbers(9, 5, 7), scores(1, 1, NAN), 2, exclude=numbers(3))
    assert best.numbers.tolist() == [5, 9]


@pytest.mark.parametrize("n", [0, -1])
def test_a_length_below_one_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        top_n(scores(1), n)


@settings(deadline=None, max_examples=100)
@given(
    values=npst.arrays(
        np.float32, st.integers(0, 30), elements=st.sampled_from([NAN, -1.0, 0.0, 0.5, 2.0])
    ),
    n=st.integers(1, 35),
    excluded=st.sets(st.integers(0, 29)),
)
def test_it_is_a_full_sort_cut_at_n(values: np.ndarray, n: int, excluded: set[int]) -> None:
    exclude = np.array([number for number in sorted(excluded) if number < len(values)], np.int32)
    pairs = [
        (-float(value), number)
        for number, value in enumerate(values)
        if not np.isnan(value) and number not in excluded
    ]
    expected = [number for _, number in sorted(pairs)][:n]
    assert top_n(values, n, exclude=exclude).numbers.tolist() == expected
