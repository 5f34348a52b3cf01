"""`Answer`: a list of recommended items, each with its source, level and propensity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recsys.bundle.placements import Level
from recsys.ids import Numbers
from recsys.models.protocol import Contributions
from recsys.models.registry import known_family
from recsys.query.query import Query
from recsys.recommend.diversity_and_quotas import Effect

CATALOG: Final = "catalog"
"""The source of last resort: sellable items in catalogue order."""
PINNED: Final = "pinned"
"""The source of an item that a rule pinned to its position."""
EXPLORATION: Final = "exploration"
"""The source of a new item that exploration drew into the list."""
LEVELS: Final[tuple[Level, ...]] = ("individual", "session", "page", "segment", "everybody")
"""Levels of personalisation, the most personal first."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer.

    `source` is the model that contributed most to the score, or what else put the item into the
    list; `why` are the contributions behind that model's score; `propensity` is the probability of
    the item to be in this list (`recsys.recommend.exploration`).
    """

    number: int
    score: float
    source: str
    level: Level
    why: Contributions = ()
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Candidates per model, and what each rule removed or moved, in the order of application."""

    candidates: Mapping[str, int]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A list for one query, best first.

    `fallback` is the last source of the fallback chain that the list needed; `effects` what pins,
    quotas and diversity did.
    """

    items: tuple[Recommendation, ...]
    fallback: str | None = None
    effects: tuple[Effect, ...] = field(default=(), compare=False)
    diagnostics: Diagnostics | None = field(default=None, compare=False)

    @property
    def numbers(self) -> Numbers:
        """The item numbers in order."""
        return np.array([item.number for item in self.items], np.int32)

    @property
    def level(self) -> Level | None:
        """The most personal level among the items; None for an empty answer."""
        present = {item.level for item in self.items}
        return next((level for level in LEVELS if level in present), None)


def level_of(source: str, query: Query) -> Level:
    """How personal the items of a source are for this query."""
    if source in (CATALOG, PINNED, EXPLORATION):
        return "everybody"
    family = known_family(source)
    if family is not None and family.level != "individual":
        return family.level
    if len(query.seeds):
        return "page"
    return "individual" if query.known else "session"
