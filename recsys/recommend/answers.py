"""What an operation answers: recommended items with source and level, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recsys.bundle.placements import Level
from recsys.ids import Numbers
from recsys.models.protocol import Contributions
from recsys.models.registry import MODELS
from recsys.query.query import Query
from recsys.recommend.rule_engine import Effect

CATALOG: Final = "catalog"
"""The source of last resort: sellable items in catalogue order."""
PINNED: Final = "pinned"
"""The source of an item that a rule put where it stands."""
EXPLORATION: Final = "exploration"
"""The source of a new item that was drawn into the list."""
LEVELS: Final[tuple[Level, ...]] = ("individual", "session", "page", "segment", "everybody")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer. `source` names the model that weighed most; `why` its evidence;
    `propensity` is the probability of its position in this list (`recsys.recommend.exploration`).
    """

    number: int
    score: float
    source: str
    level: Level
    why: Contributions = ()
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How a list came about: candidates per model, and what each rule took out or moved, in the
    order of application."""

    candidates: Mapping[str, int]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A list for one query, best first.

    `fallback` is the furthest source beyond the placement's own models that the list needed;
    `effects` say what quotas, diversity, pins and rest did.
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
    """How personal a source is for whoever asks."""
    if source in (CATALOG, PINNED, EXPLORATION):
        return "everybody"
    family = MODELS.get(source)
    if family is not None and family.level != "individual":
        return family.level
    if len(query.seeds):
        return "page"
    return "individual" if query.known else "session"
