"""The search space: how events are weighted, and the settings of each model family.

A family declares its own space (`ModelFamily.search_space`); one without a space is
tried with its defaults.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from recsys.events.weighting import DEFAULT_KIND_WEIGHTS, Weighting
from recsys.models.registry import FAMILY, config_of, family_of
from recsys.models.search_space import Choice, Range, Space

Settings = Mapping[str, Any]
"""One family's settings, as a recipe has them."""


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
"""Name in a trial → weights of event kinds."""

WEIGHTING_HALF_LIFE: Final = Range(14, 400)


def validated(family: str, settings: Settings) -> dict[str, Any]:
    """The settings that differ from the family's defaults, checked by its own config class."""
    config = config_of(family, settings)
    path = {FAMILY: settings[FAMILY]} if FAMILY in settings else {}
    return path | {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if value != _plain(type(config).model_fields[name].get_default(call_default_factory=True))
    }


def weighting_space(kinds: Collection[str]) -> Space:
    """The ways to weigh events that differ where only these kinds happen."""
    apart: dict[tuple[tuple[str, float], ...], str] = {}
    for name, weights in KIND_WEIGHTS.items():
        weighed = sorted((kind, weight) for kind, weight in weights.items() if kind in kinds)
        if weighed:
            apart.setdefault(tuple(weighed), name)
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
    fields = family_of(family).config.model_fields
    return {
        name: Choice((*dimension.values, fields[name].default))
        if isinstance(dimension, Choice) and fields[name].default not in dimension.values
        else dimension
        for name, dimension in family_of(family).search_space.items()
    }


def start_of(family: str, settings: Settings) -> dict[str, Any] | None:
    """The point of a family's space for settings in force; None where they are outside of it."""
    config = config_of(family, settings).model_dump(mode="json")
    space = space_of(family)
    point = {name: config[name] for name in space}
    return (
        point if all(within(dimension, point[name]) for name, dimension in space.items()) else None
    )


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
