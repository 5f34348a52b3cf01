"""`Vocabulary`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ids import NONE, Vocabulary


def test_numbers_and_ids_are_inverse() -> None:
    words = Vocabulary(["b", "a", "c"])
    assert [words.number(id) for id in ("b", "a", "c")] == [0, 1, 2]
    assert words.ids(words.numbers(["c", "b"])) == ["c", "b"]
    assert words.id(1) == "a"


def test_an_unknown_id_is_minus_one_or_left_out() -> None:
    words = Vocabulary(["a", "b"])
    assert words.number("z") is None
    assert words.numbers(["b", "z"]).tolist() == [1, -1]
    assert words.known(["z", "b", "z"]).tolist() == [1]
    assert words.numbers(["z"]).dtype == np.int32


def test_an_id_given_twice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'b' twice"):
        Vocabulary(["a", "b", "b"])


def test_the_same_set_of_ids_always_has_the_same_numbers() -> None:
    assert Vocabulary.of(["b", "a", "b"]) == Vocabulary.of(["a", "b"])
    assert Vocabulary.of(["b", "a", "b"]).ids() == ["a", "b"]


def test_vocabularies_with_another_order_differ() -> None:
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])


def test_nothing_can_be_written_into_the_empty_numbers() -> None:
    assert not NONE.flags.writeable


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=1), unique=True))
def test_every_id_comes_back(ids: list[str]) -> None:
    words = Vocabulary.of(ids)
    assert len(words) == len(ids)
    assert words.ids(words.numbers(ids)) == ids
    assert list(words) == sorted(ids)
    assert all(id in words for id in ids)
