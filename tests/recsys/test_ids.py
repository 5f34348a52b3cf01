"""`Vocabulary`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ids import NONE, Vocabulary


def test_numbers_and_ids_are_inverse() -> None:
    vocabulary = Vocabulary(["b", "a", "c"])
    assert [vocabulary.number(id) for id in ("b", "a", "c")] == [0, 1, 2]
    assert vocabulary.ids(vocabulary.numbers(["c", "b"])) == ["c", "b"]
    assert vocabulary.id(1) == "a"


def test_an_unknown_id_is_minus_one_or_left_out() -> None:
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.number("z") is None
    assert vocabulary.numbers(["b", "z"]).tolist() == [1, -1]
    assert vocabulary.known(["z", "b", "z"]).tolist() == [1]
    assert vocabulary.numbers(["z"]).dtype == np.int32


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
    vocabulary = Vocabulary.of(ids)
    assert len(vocabulary) == len(ids)
    assert vocabulary.ids(vocabulary.numbers(ids)) == ids
    assert list(vocabulary) == sorted(ids)
    assert all(id in vocabulary for id in ids)
