"""External ids (str) and row numbers (int), both ways; keys of persons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int32]
"""Row numbers of items or users, int32, one-dimensional."""

NONE: Numbers = np.empty(0, dtype=np.int32)
NONE.setflags(write=False)


Array = NDArray[Any]

Mask = NDArray[np.bool_]
"""One bool per item of the bundle."""

Scores = NDArray[np.float32]
"""One score per item asked for; NaN means no opinion."""

USER_PREFIX: Final = "u:"
VISITOR_PREFIX: Final = "a:"


def user_key(user_id: str) -> str:
    """The person key of a customer."""
    return f"{USER_PREFIX}{user_id}"


def visitor_key(anonymous_id: str) -> str:
    """The person key of a visitor who is no known customer."""
    return f"{VISITOR_PREFIX}{anonymous_id}"


def is_user_key(key: str) -> bool:
    """Whether a person key is that of a customer."""
    return key.startswith(USER_PREFIX)


class Vocabulary:
    """The ids of one kind of thing in a fixed order; `number` and `id` are inverse.

    Immutable. Two ids that compare equal are one entry: building from a list with repeats raises
    ValueError, `Vocabulary.of` folds them, sorted.
    """

    __slots__ = ("_ids", "_number_of")

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = tuple(ids)
        self._number_of = {id: number for number, id in enumerate(self._ids)}
        if len(self._number_of) != len(self._ids):
            repeated = next(id for n, id in enumerate(self._ids) if self._number_of[id] != n)
            raise ValueError(f"Vocabulary has the id {repeated!r} twice; give each id once.")

    @classmethod
    def of(cls, ids: Iterable[str]) -> Vocabulary:
        """The distinct ids, sorted, so that the same set always gives the same numbers."""
        return cls(sorted(set(ids)))

    def number(self, id: str) -> int | None:
        """The row number of `id`, or None where it is unknown."""
        return self._number_of.get(id)

    def numbers(self, ids: Sequence[str]) -> Numbers:
        """Row numbers in the order given; -1 where an id is unknown."""
        numbers = map(self._number_of.get, ids, repeat(-1))
        return np.fromiter(numbers, dtype=np.int32, count=len(ids))

    def known(self, ids: Sequence[str]) -> Numbers:
        """Row numbers in the order given, unknown ids left out."""
        numbers = self.numbers(ids)
        return numbers[numbers >= 0]

    def id(self, number: int) -> str:
        """The id at a row number; IndexError outside."""
        return self._ids[number]

    def ids(self, numbers: Numbers | None = None) -> list[str]:
        """The ids at the row numbers, or all ids in order."""
        if numbers is None:
            return list(self._ids)
        ids = self._ids
        return [ids[number] for number in numbers.tolist()]

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, id: object) -> bool:
        return id in self._number_of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._ids == other._ids

    def __hash__(self) -> int:
        return hash(self._ids)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids)"
