"""The model families that each task compares: where the search of each starts, what it may change.

A task declares what only it knows: published starting points, which settings are worth its time and
in which order, and half-lives in its unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from recsys.models.search_space import Choice, Space
from training.benchmark.candidates import INTERACTION_HALF_LIFE, FamilySearch
from training.benchmark.task_data import SetSize

BASKETS: Final = Choice((3.0, 5.0, 10.0, 15.0, 30.0, 100.0, None))
TASK_SPACES: Final[Mapping[str, Space]] = {
    "next-basket": {
        INTERACTION_HALF_LIFE: BASKETS,
        "half_life_days": BASKETS,
        "horizon_days": Choice((1.0, 3.0)),
    },
    "leave-one-out": {INTERACTION_HALF_LIFE: Choice((1.0, 2.0, 4.0, 8.0, 20.0, None))},
}
"""What replaces the family's space: these files have no times, and a day stands for one basket
or one interaction."""


def searches_of(task: str, size: SetSize) -> list[FamilySearch]:
    """The task's rows whose family suits the size of the set."""
    space = TASK_SPACES.get(task, {})
    return [replace(search, task_space=space) for search in SEARCHES[task] if search.suits(size)]


def _few_items(size: SetSize) -> bool:
    return size.items <= 25_000


def _few_interactions(size: SetSize) -> bool:
    return size.interactions <= 4_000_000


def _pairs_fit(size: SetSize) -> bool:
    """Whether an unpruned walk between all items stays within a few GB (8 bytes a pair)."""
    return min(size.pairs, size.items**2) <= 150_000_000


def _described(size: SetSize) -> bool:
    return size.attributes


# What every task compares with.
POPULARITY: Final = FamilySearch("popularity", "popularity", {"half_life_days": None})
RECENT_POPULARITY: Final = FamilySearch(
    "recent_popularity", "popularity", {"half_life_days": 14.0}, ("half_life_days",)
)
SESSION: Final = FamilySearch("session", "session", {"neighbours": 200}, ("decay", "shrinkage"))

# RP3beta and iALS stand for cosine neighbours and plain ALS as well, whose stronger relatives they
# are. The order within a line has no meaning, so no half-life is searched.
TOP_N: Final = (
    POPULARITY,
    FamilySearch(
        "P3", "random_walk", {"neighbours": None, "beta": 0.0, "binary": True}, suits=_pairs_fit
    ),
    FamilySearch(
        "RP3beta",
        "random_walk",
        {"neighbours": 400, "beta": 0.3, "binary": True},
        ("beta", "neighbours"),
    ),
    FamilySearch(
        "graph_filter",
        "graph_filter",
        {"frequencies": 512, "threads": 2},
        ("frequencies", "popularity"),
        suits=_few_interactions,
    ),
    FamilySearch(
        "iALS",
        "ials",
        {"embedding_size": 256, "threads": 2},
        ("unobserved_weight", "reg"),
        suits=_few_interactions,
    ),
    FamilySearch("ease", "ease", {"threads": 2}, ("reg",), suits=_few_items),
    FamilySearch(
        "bpr",
        "bpr",
        {"embedding_size": 64, "candidates": 64},
        ("candidates", "embedding_size"),
        suits=_few_interactions,
    ),
)

NEXT_ITEM: Final = (
    POPULARITY,
    FamilySearch(
        "session_knn",
        "session_knn",
        searched=(
            *("sharpness", "reach", "match_decay", "half_life_days", "visits_per_item"),
            *("scoring_rarity", "position_rate", "matching_rarity", "neighbours"),
            *("length_penalty", "revisit"),
        ),
    ),
    # Kersbergen et al., SIGMOD 2022, with the published settings.
    FamilySearch(
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
    ),
    SESSION,
    FamilySearch(
        "RP3beta", "random_walk", {"neighbours": 100, "beta": 0.1, "binary": False}, ("beta",)
    ),
)

NEXT_BASKET: Final = (
    POPULARITY,
    RECENT_POPULARITY,
    FamilySearch("repeat", "repeat", {"half_life_days": 10.0}, ("half_life_days",)),
    FamilySearch(
        "tifu_knn",
        "tifu_knn",
        searched=(
            *("within_decay", "group_decay", "own_share"),
            *("neighbours", "group_size", "locality"),
        ),
    ),
    FamilySearch(
        "up_cf", "up_cf", searched=("half_life_days", "asymmetry", "locality", "neighbours")
    ),
    FamilySearch("refill", "refill", {"horizon_days": 1.0}, ("horizon_days",)),
    FamilySearch("rebuy", "rebuy"),
    FamilySearch(
        "RP3beta",
        "random_walk",
        {"neighbours": 100, "beta": 0.3, INTERACTION_HALF_LIFE: 20.0},
        (INTERACTION_HALF_LIFE, "beta", "alpha"),
    ),
    FamilySearch(
        "item_item",
        "item_item",
        {"binary": False, INTERACTION_HALF_LIFE: 10.0},
        (INTERACTION_HALF_LIFE,),
    ),
    FamilySearch(
        "als",
        "als",
        {"embedding_size": 64, "alpha": 5.0, "threads": 2, INTERACTION_HALF_LIFE: 20.0},
        ("alpha", INTERACTION_HALF_LIFE, "reg"),
        suits=_few_interactions,
    ),
)

LEAVE_ONE_OUT: Final = (
    POPULARITY,
    RECENT_POPULARITY,
    # Sequences are long and have no times: many visits per item are kept, all of them as recent.
    FamilySearch(
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
        (
            *("sharpness", "reach", "match_decay", "backwards", "matching_rarity"),
            *("scoring_rarity", "length_penalty", "position_rate", "neighbours"),
        ),
    ),
    FamilySearch(
        "RP3beta",
        "random_walk",
        {"neighbours": 200, "beta": 0.2, "binary": False, INTERACTION_HALF_LIFE: 4.0},
        (INTERACTION_HALF_LIFE, "beta", "alpha"),
    ),
    FamilySearch(
        "item_item",
        "item_item",
        {"neighbours": 200, "binary": False, INTERACTION_HALF_LIFE: 4.0},
        (INTERACTION_HALF_LIFE, "shrinkage"),
    ),
    SESSION,
    FamilySearch(
        "content",
        "content",
        {INTERACTION_HALF_LIFE: 4.0},
        (INTERACTION_HALF_LIFE,),
        suits=_described,
    ),
    FamilySearch(
        "iALS",
        "ials",
        {"threads": 2, INTERACTION_HALF_LIFE: 20.0},
        (INTERACTION_HALF_LIFE,),
        suits=_few_interactions,
    ),
    FamilySearch(
        "als",
        "als",
        {"embedding_size": 64, "alpha": 10.0, "threads": 2, INTERACTION_HALF_LIFE: 20.0},
        (INTERACTION_HALF_LIFE, "alpha", "reg", "embedding_size"),
        suits=_few_interactions,
    ),
    FamilySearch(
        "ease",
        "ease",
        {"binary": False, INTERACTION_HALF_LIFE: 20.0, "threads": 2},
        (INTERACTION_HALF_LIFE, "reg"),
        suits=_few_items,
    ),
    FamilySearch(
        "graph_filter", "graph_filter", {}, (INTERACTION_HALF_LIFE,), suits=_few_interactions
    ),
    FamilySearch("hybrid", "hybrid", suits=_described),
)

SEARCHES: Final[Mapping[str, tuple[FamilySearch, ...]]] = {
    "top-n": TOP_N,
    "session": NEXT_ITEM,
    "next-basket": NEXT_BASKET,
    "leave-one-out": LEAVE_ONE_OUT,
}
"""Task → its rows, in the order in which they are started."""
