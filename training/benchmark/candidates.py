"""`Candidate` and `FamilySearch`: one choice of a family's settings, and how its search proceeds.

The values that a setting may have are those of the family's `search_space`, which `recsys search`
uses as well, but for those whose unit is the task's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recsys.models.registry import MODELS
from recsys.models.search_space import Choice, Range, Space
from training.benchmark.task_data import SetSize

Settings = Mapping[str, Any]

INTERACTION_HALF_LIFE: Final = "half_life_of_interactions"
"""The half-life in days that weights interactions before a model is fitted; None for no decay."""
RANGE_STEPS: Final = 6
"""Into so many steps the search divides a range."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One family with one choice of settings."""

    family: str
    settings: Settings

    @property
    def half_life(self) -> float | None:
        """The half-life of the interactions that the model is fitted on."""
        value: float | None = self.settings.get(INTERACTION_HALF_LIFE)
        return value

    @property
    def family_settings(self) -> dict[str, Any]:
        """The settings without the half-life of the interactions."""
        return {name: v for name, v in self.settings.items() if name != INTERACTION_HALF_LIFE}

    def value(self, name: str) -> Any:
        """A setting, the family's default where it is not set."""
        fields = MODELS[self.family].config.model_fields
        default = fields[name].default if name in fields else None
        return self.settings.get(name, default)

    def changed(self, name: str, value: Any) -> Candidate:
        """The same with one setting changed."""
        return Candidate(self.family, {**self.settings, name: value})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.settings.items())


@dataclass(frozen=True, slots=True)
class FamilySearch:
    """One row of a task's table: a family, the settings that its search starts from, and the
    settings that it may change, in this order.

    A family may have several rows with different starts. `suits` leaves it out of sets that it does
    not scale to; `task_space` replaces the family's space for settings whose unit is
    the task's.
    """

    name: str
    family: str
    start: Settings = field(default_factory=dict)
    searched: Sequence[str] = ()
    suits: Callable[[SetSize], bool] = lambda _size: True
    task_space: Space = field(default_factory=dict)

    def first(self) -> Candidate:
        """The starting point."""
        return Candidate(self.family, self.start)

    def adjacent(self, name: str, value: Any, direction: int) -> Any:
        """The next value of a setting, upwards (1) or downwards (−1); ValueError at the end."""
        space = self.task_space.get(name) or MODELS[self.family].search_space[name]
        return _adjacent(space, value, direction)


def _adjacent(space: Choice | Range, value: Any, direction: int) -> Any:
    if isinstance(space, Choice):
        here = direction * _position(value)
        beyond = [v for v in space.values if direction * _position(v) > here]
        if not beyond:
            raise ValueError(f"{value} has no neighbour among {space.values}")
        return min(beyond, key=lambda v: direction * _position(v))
    low, high = (math.log(end) if space.log else end for end in (space.low, space.high))
    step = (high - low) / RANGE_STEPS
    here = ((math.log(value) if space.log and value else value) - low) / step
    # The nearest mark that is at least half a step away.
    index = math.ceil(here + 0.5) if direction > 0 else math.floor(here - 0.5)
    if not 0 <= index <= RANGE_STEPS:
        raise ValueError(f"{value} has no neighbour between {space.low} and {space.high}")
    mark = low + index * step
    changed = float(f"{math.exp(mark) if space.log else mark:.3g}")
    return round(changed) if space.whole else changed


def _position(value: Any) -> float:
    """None, no limit or no decay, is above every number."""
    return math.inf if value is None else float(value)
