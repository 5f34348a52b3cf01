"""The types of a hyper-parameter space, as a model family declares it for the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Value = float | int | bool | str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that has one of these values."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, both included.

    `log` draws it uniformly on a logarithmic scale; `whole` rounds it to an integer.
    """

    low: float
    high: float
    log: bool = True
    whole: bool = False


Space = Mapping[str, Choice | Range]
"""Setting of the family's config → the values that a search may try."""

HALF_LIVES: Final = Choice((None, 7, 14, 30, 60, 120, 240))
"""Half-lives of interactions in days; None for no decay."""
