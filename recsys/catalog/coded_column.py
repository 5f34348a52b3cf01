"""`CodedColumn`: one attribute of all items as numbers of its distinct values, and tests of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.catalog.rules import NameTest, PathTest, ValueTest
from recsys.ids import Mask

Codes = NDArray[np.int32]
"""Per item the number of its value, −1 where it has none."""
Scalar = str | float | bool
Value = Scalar | tuple[str, ...] | None
"""A tuple is a value with several words, each of which a test may ask for."""
Test = Scalar | NameTest | PathTest | ValueTest


@dataclass(slots=True)
class CodedColumn:
    """Distinct values and each item's code among them.

    `having` says which codes hold a word; `amounts` is per code its number, NaN for words.
    """

    codes: Codes
    code_of: dict[object, int] = field(default_factory=dict)
    having: dict[object, list[int]] = field(default_factory=dict)
    amounts: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, codes: Codes, values: Sequence[str | tuple[str, ...]]) -> CodedColumn:
        """A column that is already coded; `values` in the order of their codes."""
        column = cls(codes)
        recoded = [column._code(value) for value in values]
        column.codes = np.array([*recoded, -1], np.int32)[codes]
        return column

    def put(self, numbers: Sequence[int], values: Iterable[Value]) -> None:
        """Replaces the values of the items at these row numbers."""
        known: dict[tuple[type, Value], int] = {(type(None), None): -1, (tuple, ()): -1}
        codes = self.codes
        for number, value in zip(numbers, values, strict=True):
            # The type, since True and 1.0 are one key of a dict.
            code = known.get((value.__class__, value))
            if code is None:
                assert value is not None
                code = known[value.__class__, value] = self._code(value)
            codes[number] = code

    def copy(self) -> CodedColumn:
        """A column that may be changed apart from this one."""
        having = {part: list(codes) for part, codes in self.having.items()}
        return CodedColumn(self.codes.copy(), dict(self.code_of), having, list(self.amounts))

    def matching(self, test: Test) -> Mask:
        """Mask over items: what passes the test."""
        # One entry more than there are codes: the code −1 reads the last.
        passes = np.zeros(len(self.code_of) + 1, np.bool_)
        if isinstance(test, str | float | bool):
            passes[self._codes([test])] = True
            return passes[self.codes]
        passes[:] = True
        if test.in_ is not None:
            passes[:] = False
            passes[self._codes(test.in_)] = True
        if isinstance(test, ValueTest) and not (test.min is None and test.max is None):
            passes &= between(np.array([*self.amounts, np.nan]), test.min, test.max)
        if test.not_in is not None:
            passes[self._codes(test.not_in)] = False
        if test.exists is not None:
            passes &= (np.arange(len(passes)) < len(passes) - 1) == test.exists
        return passes[self.codes]

    def _code(self, value: Scalar | tuple[str, ...]) -> int:
        key = _key(value)
        code = self.code_of.setdefault(key, len(self.code_of))
        if code == len(self.amounts):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self.amounts.append(float(value) if number else np.nan)  # type: ignore[arg-type]
            for part in value if isinstance(value, tuple) else (value,):
                self.having.setdefault(_key(part), []).append(code)
        return code

    def _codes(self, values: Sequence[Scalar]) -> list[int]:
        return [code for value in values for code in self.having.get(_key(value), ())]


def between(amounts: NDArray[np.float64], low: float | None, high: float | None) -> Mask:
    """Which amounts lie in the range, bounds included; NaN lies in none."""
    inside = np.isfinite(amounts)
    if low is not None:
        inside &= amounts >= low
    if high is not None:
        inside &= amounts <= high
    return inside


def _key(value: object) -> object:
    return (bool, value) if isinstance(value, bool) else value
