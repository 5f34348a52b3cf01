"""Which families a task tries, where each starts, and which settings are tried from there.

A space is walked one setting at a time from its start; what a family of the registry does not have
(or not yet) is left out by its absence from MODELS, and a family that a set is too large for by its
limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from recsys.models.registry import MODELS

Settings = Mapping[str, Any]

HALF_LIFE: Final = "half_life_of_acts"
"""The half-life in days with which acts are weighed before a model sees them; None for no decay."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a set is."""

    users: int
    items: int
    acts: int
    attributes: bool = False
    pairs: int = 0
    """Σ n² over the users' numbers of items: so many pairs of items share somebody at most."""


@dataclass(frozen=True, slots=True)
class Space:
    """A family's settings: where the walk starts, and what is tried for one setting after another.

    `name` is the row in the table; a family may have two rows that start at different places.
    """

    name: str
    family: str
    start: Settings = field(default_factory=dict)
    steps: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    suits: Callable[[Size], bool] = lambda _size: True


@dataclass(frozen=True, slots=True)
class Candidate:
    """One family with one choice of settings."""

    family: str
    settings: Settings

    @property
    def half_life(self) -> float | None:
        """The half-life of the acts that the model sees."""
        value: float | None = self.settings.get(HALF_LIFE)
        return value

    @property
    def own(self) -> dict[str, Any]:
        """The settings of the family itself."""
        return {name: value for name, value in self.settings.items() if name != HALF_LIFE}

    def changed(self, name: str, value: Any) -> Candidate:
        """The same with one setting changed."""
        return Candidate(self.family, {**self.settings, name: value})

    def in_words(self) -> str:
        """The settings as a reader wants them."""
        return ", ".join(f"{name} {value}" for name, value in self.settings.items())


def spaces_of(task: str, size: Size) -> list[Space]:
    """The task's spaces whose family exists and suits the size."""
    return [space for space in SPACES[task] if space.family in MODELS and space.suits(size)]


def _few_items(size: Size) -> bool:
    return size.items <= 25_000


def _few_acts(size: Size) -> bool:
    return size.acts <= 4_000_000


def _pairs_fit(size: Size) -> bool:
    """Whether a walk between all items, not pruned, stays within a few GB (8 bytes a pair)."""
    return min(size.pairs, size.items**2) <= 150_000_000


def _described(size: Size) -> bool:
    return size.attributes


POPULARITY: Final = Space("popularity", "popularity", {"half_life_days": None})
P3: Final = Space(
    "P3",
    "random_walk",
    {"neighbours": None, "beta": 0.0, "binary": True},
    suits=_pairs_fit,
)
RP3BETA: Final = Space(
    "RP3beta",
    "random_walk",
    {"neighbours": 400, "beta": 0.3, "binary": True},
    {"beta": (0.1, 0.2, 0.5), "neighbours": (100,)},
)
IALS: Final = Space(
    "iALS",
    "ials",
    {"embedding_size": 256, "threads": 2},
    {"unobserved_weight": (0.03, 0.1), "reg": (0.03, 0.3, 1.0)},
    _few_acts,
)
RECENCY: Final = (1.0, 2.0, 4.0, 8.0, 20.0, None)

SPACES: Final[Mapping[str, tuple[Space, ...]]] = {
    # Cosine neighbours and plain ALS are left to RP3beta and iALS, which tell the same and more.
    "top-n": (
        POPULARITY,
        P3,
        RP3BETA,
        Space(
            "graph_filter",
            "graph_filter",
            {"frequencies": 512, "threads": 2},
            {"frequencies": (256, 128), "popularity": (0.3,)},
            _few_acts,
        ),
        IALS,
        Space(
            "ease",
            "ease",
            {"threads": 2},
            {"reg": (50.0, 1000.0), "neighbours": (1000,)},
            _few_items,
        ),
        Space(
            "bpr",
            "bpr",
            {"embedding_size": 64, "candidates": 64},
            {"candidates": (128,), "embedding_size": (128,)},
            _few_acts,
        ),
    ),
    "session": (
        POPULARITY,
        Space(
            "session_knn",
            "session_knn",
            {},
            {
                "sharpness": (1.0, 2.0),
                "reach": (1.5, 3.0),
                "match_decay": (0.3, 1.0),
                "half_life_days": (14.0, 30.0, 1e6),
                "visits_per_item": (1500,),
                "scoring_rarity": (0.5, 0.0),
                "position_rate": (1.0,),
                "matching_rarity": (1.0,),
                "neighbours": (300,),
                "length_penalty": (0.25,),
                "revisit": (1.0, 2.0),
            },
        ),
        Space(
            "VMIS-kNN",
            "session_knn",
            {
                "recent": 500,
                "neighbours": 50,
                "last_items": 2,
                "position_decay": "linear",
                "position_rate": 1.0,
                "reach": 1e9,
                "half_life_days": 1e9,
                "sharpness": 1.0,
                "matching_rarity": 0.0,
                "match_decay": 0.0,
                "revisit": 1.0,
            },
            {},
        ),
        Space(
            "session",
            "session",
            {"neighbours": 200},
            {"decay": (0.5, 0.3), "shrinkage": (0.0, 10.0)},
        ),
        Space(
            "RP3beta",
            "random_walk",
            {"neighbours": 100, "beta": 0.1, "binary": False, HALF_LIFE: None},
            {"beta": (0.3, 0.5)},
        ),
    ),
    "next-basket": (
        POPULARITY,
        Space(
            "recent_popularity",
            "popularity",
            {"half_life_days": 14.0},
            {"half_life_days": (3.0, 60.0)},
        ),
        Space(
            "repeat",
            "repeat",
            {"half_life_days": 10.0},
            {"half_life_days": (None, 3.0, 30.0, 100.0)},
        ),
        Space(
            "tifu_knn",
            "tifu_knn",
            {},
            {
                "within_decay": (0.6, 0.8, 1.0),
                "group_decay": (0.9, 0.5, 0.3),
                "own_share": (0.5, 0.9, 0.3),
                "neighbours": (100, 900),
                "group_size": (3, 12),
                "locality": (2.0, 4.0),
            },
        ),
        Space(
            "up_cf",
            "up_cf",
            {},
            {
                "half_life_days": (5.0, 15.0, 100.0),
                "asymmetry": (0.25, 0.5, 0.75),
                "locality": (1.0, 5.0, 10.0),
                "neighbours": (300, 3000),
            },
        ),
        Space("refill", "refill", {"horizon_days": 1.0}, {"horizon_days": (3.0,)}),
        Space("rebuy", "rebuy"),
        Space(
            "RP3beta",
            "random_walk",
            {"neighbours": 100, "beta": 0.3, HALF_LIFE: 20.0},
            {HALF_LIFE: (5.0, None), "beta": (0.0, 0.5), "alpha": (0.7,)},
        ),
        Space(
            "item_item", "item_item", {"binary": False, HALF_LIFE: 10.0}, {HALF_LIFE: (3.0, None)}
        ),
        Space(
            "als",
            "als",
            {"embedding_size": 64, "alpha": 5.0, "threads": 2, HALF_LIFE: 20.0},
            {"alpha": (1.0, 20.0), HALF_LIFE: (5.0, None), "reg": (20.0,)},
            _few_acts,
        ),
    ),
    "leave-one-out": (
        POPULARITY,
        Space(
            "recent_popularity", "popularity", {"half_life_days": 14.0}, {"half_life_days": (3.0,)}
        ),
        Space(
            "session_knn",
            "session_knn",
            {
                "visits_per_item": 2000,
                "recent": 5000,
                "neighbours": 500,
                "half_life_days": 1e9,
                "revisit": 1.0,
                "reach": 3.0,
            },
            {
                "sharpness": (1.0, 2.0),
                "reach": (1.5, 8.0, 1e9),
                "match_decay": (0.3, 0.1, 0.0),
                "backwards": (0.7, 0.4),
                "matching_rarity": (0.5, 1.0),
                "scoring_rarity": (0.5, 0.0),
                "length_penalty": (0.25, 0.5),
                "position_rate": (0.25, 1.0),
                "neighbours": (2000,),
            },
        ),
        Space(
            "RP3beta",
            "random_walk",
            {"neighbours": 200, "beta": 0.2, "binary": False, HALF_LIFE: 4.0},
            {HALF_LIFE: RECENCY, "beta": (0.0, 0.1, 0.3, 0.5), "alpha": (0.8, 0.6, 0.5)},
        ),
        Space(
            "item_item",
            "item_item",
            {"neighbours": 200, "binary": False, HALF_LIFE: 4.0},
            {HALF_LIFE: RECENCY, "shrinkage": (0.0, 1.0, 20.0)},
        ),
        Space(
            "session",
            "session",
            {"neighbours": 200},
            {"decay": (0.6, 0.4), "shrinkage": (0.0, 10.0)},
        ),
        Space(
            "content",
            "content",
            {HALF_LIFE: 4.0},
            {HALF_LIFE: (1.0, 20.0), "max_query_features": (200,)},
            _described,
        ),
        Space("iALS", "ials", {"threads": 2, HALF_LIFE: 20.0}, {HALF_LIFE: (5.0, None)}, _few_acts),
        Space(
            "als",
            "als",
            {"embedding_size": 64, "alpha": 10.0, "threads": 2, HALF_LIFE: 20.0},
            {
                HALF_LIFE: (5.0, None),
                "alpha": (3.0, 30.0),
                "reg": (20.0,),
                "embedding_size": (128,),
            },
            _few_acts,
        ),
        Space(
            "ease",
            "ease",
            {"binary": False, HALF_LIFE: 20.0, "threads": 2},
            {HALF_LIFE: (4.0, None), "reg": (50.0, 500.0)},
            _few_items,
        ),
        Space("graph_filter", "graph_filter", {HALF_LIFE: None}, {HALF_LIFE: (4.0,)}, _few_acts),
        Space("hybrid", "hybrid", {}, {}, _described),
    ),
}
"""Task → spaces, in the order in which they are begun."""
