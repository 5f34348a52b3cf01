"""What the search may change: how events are weighed, and each model family's settings.

A family without an entry here is tried with its default settings.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recsys.events.weighting import DEFAULT_KIND_WEIGHTS, Weighting
from recsys.models.registry import MODELS

Value = float | int | bool | str | None
Settings = Mapping[str, Any]
"""One family's settings, as a recipe has them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number between these, both included; `log` searches its magnitude."""

    low: float
    high: float
    log: bool = True
    whole: bool = False


Space = Mapping[str, Choice | Range]

DAYS: Final = Choice((None, 7, 14, 30, 60, 120, 240))
"""Half-lives; None forgets nothing."""

SPACES: Final[Mapping[str, Space]] = {
    "popularity": {"half_life_days": Choice((None, 2, 4, 7, 14, 30, 60))},
    "popularity_by_country": {
        "half_life_days": Choice((None, 7, 14, 30, 60)),
        "prior": Range(2, 200),
    },
    "trending": {"half_life_days": Range(3, 60), "prior": Range(1, 50)},
    "repeat": {"half_life_days": Choice((None, 30, 60, 90, 180, 365))},
    "rebuy": {"prior": Range(1, 50)},
    "refill": {
        "horizon_days": Range(7, 60),
        "own_prior": Range(0.5, 8),
        "item_prior": Range(2, 50),
        "chance_prior": Range(2, 50),
    },
    "tifu_knn": {
        "group_size": Choice((3, 5, 7, 10)),
        "within_decay": Choice((0.6, 0.7, 0.8, 0.9, 1.0)),
        "group_decay": Choice((0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        "neighbours": Choice((100, 300, 900)),
        "own_share": Choice((0.1, 0.3, 0.5, 0.7, 0.9)),
    },
    "up_cf": {
        "neighbours": Choice((100, 300, 1000)),
        "asymmetry": Choice((0.0, 0.25, 0.5, 0.75, 1.0)),
        "locality": Choice((1.0, 2.0, 3.0, 5.0, 10.0)),
        "half_life_days": DAYS,
    },
    "random_walk": {
        "neighbours": Choice((50, 100, 200, 400)),
        "alpha": Range(0.6, 1.4, log=False),
        "beta": Range(0.0, 0.9, log=False),
        "half_life_days": Choice((None, 30, 60, 120, 240)),
        "target_half_life_days": Choice((None, 7, 14, 30, 60, 120)),
        "binary": Choice((False, True)),
    },
    "item_item": {
        "neighbours": Choice((50, 100, 200, 400)),
        "shrinkage": Range(1, 100),
        "binary": Choice((False, True)),
    },
    "als": {
        "embedding_size": Choice((32, 64, 128)),
        "reg": Range(0.3, 100),
        "alpha": Range(0.3, 40),
    },
    "ials": {
        "embedding_size": Choice((32, 64, 128)),
        "reg": Range(0.1, 100),
        "unobserved_weight": Range(0.003, 1),
        "frequency_exponent": Choice((0.0, 0.5, 1.0)),
    },
    "bpr": {
        "embedding_size": Choice((32, 64, 128)),
        "learning_rate": Range(0.01, 0.2),
        "reg": Range(0.0005, 0.1),
        "epochs": Choice((10, 20, 40)),
        "pooling": Choice((0.0, 0.5, 1.0)),
    },
    "hybrid": {
        "embedding_size": Choice((16, 32, 64)),
        "epochs": Choice((5, 10, 15)),
        "learning_rate": Range(0.02, 0.1),
        "max_history_items": Choice((10, 30)),
    },
    "ease": {"reg": Range(20, 5000)},
    "content": {
        "title": Choice((0.5, 1.0)),
        "category": Choice((0.0, 0.3, 0.7, 1.5)),
        "brand": Choice((0.0, 0.4, 1.0)),
        "price": Choice((0.0, 0.3, 0.8)),
    },
}

PURCHASES_ALONE: Final = "purchases alone"
KIND_WEIGHTS: Final[Mapping[str, Mapping[str, float]]] = {
    "every kind": DEFAULT_KIND_WEIGHTS,
    "looks count little": {**DEFAULT_KIND_WEIGHTS, "view_item": 0.2, "select_item": 0.3},
    "no looks": {
        kind: weight
        for kind, weight in DEFAULT_KIND_WEIGHTS.items()
        if kind not in ("view_item", "select_item")
    },
    PURCHASES_ALONE: {"purchase": 1.0},
}
"""Ways to weigh kinds of events, by the name under which a trial tells of them."""

WEIGHTING_HALF_LIFE: Final = Range(14, 400)


def validated(family: str, settings: Settings) -> dict[str, Any]:
    """The settings that differ from the family's defaults, checked by its own config class."""
    config = MODELS[family].config.model_validate(dict(settings))
    return {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if value != _plain(type(config).model_fields[name].get_default(call_default_factory=True))
    }


def weighting_space(kinds: Collection[str]) -> Space:
    """The ways to weigh events that differ where only these kinds happen."""
    apart: dict[tuple[tuple[str, float], ...], str] = {}
    for name, weights in KIND_WEIGHTS.items():
        told = sorted((kind, weight) for kind, weight in weights.items() if kind in kinds)
        if told:
            apart.setdefault(tuple(told), name)
    return {"kinds": Choice(tuple(apart.values())), "half_life_days": WEIGHTING_HALF_LIFE}


def weighting_of(chosen: Mapping[str, Any]) -> Weighting:
    """The weighting behind a point of `weighting_space`."""
    return Weighting(
        kind_weights=dict(KIND_WEIGHTS[chosen["kinds"]]),
        half_life_days=rounded(chosen["half_life_days"]),
    )


def point_of(weighting: Weighting) -> dict[str, Any] | None:
    """The point of `weighting_space` for a weighting; None where it is outside."""
    for name, weights in KIND_WEIGHTS.items():
        if weighting.kind_weights == dict(weights) and within(
            WEIGHTING_HALF_LIFE, weighting.half_life_days
        ):
            return {"kinds": name, "half_life_days": weighting.half_life_days}
    return None


def space_of(family: str) -> Space:
    """What is searched of a family; choices have its default as well."""
    fields = MODELS[family].config.model_fields
    return {
        name: Choice((*one.values, fields[name].default))
        if isinstance(one, Choice) and fields[name].default not in one.values
        else one
        for name, one in SPACES.get(family, {}).items()
    }


def start_of(family: str, settings: Settings) -> dict[str, Any] | None:
    """The point of a family's space for settings in force; None where they are outside of it."""
    config = MODELS[family].config.model_validate(dict(settings)).model_dump(mode="json")
    space = space_of(family)
    point = {name: config[name] for name in space}
    return point if all(within(one, point[name]) for name, one in space.items()) else None


def within(space: Choice | Range, value: Any) -> bool:
    """Whether the value can be drawn from the space."""
    if isinstance(space, Choice):
        return value in space.values
    return value is not None and space.low <= value <= space.high


def rounded(value: float) -> float:
    """Three significant figures: a recipe that can be read."""
    if not value:
        return value
    return round(value, 2 - math.floor(math.log10(abs(value))))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
