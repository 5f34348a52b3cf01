"""`FamilyEvaluator`: the value of other settings of one family within the whole blend.

The validation periods are prepared once as candidate tables. New settings are fitted before each
cut, scored on the same candidates, and given the weight that maximises the objective: what counts
is what a family adds to the blend, not its accuracy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recsys.bundle.placements import Placement, Repeats
from recsys.dataset.training_data import TrainingData
from recsys.events.schema import EVENT_KINDS
from recsys.events.weighting import Weighting
from recsys.ids import Mask
from training.config import Recipe
from training.fitting.blend_weights import BlendObjective, coordinate_ascent, shares, totals
from training.fitting.build import fit
from training.fitting.candidate_table import (
    CandidateTable,
    ScoreMatrix,
    part_of,
    placement_queries,
)
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits

WEIGHTS_TRIED = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
"""Of a family, in shares of what all others weigh together."""
COSTLY_SHARE = 0.4
"""A family that takes more than this share of all time is not refitted to try a weighting."""

Starts = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The best configuration so far: weighting of events, settings and weight of each family, and
    the placement's `repeats` (None where that is not chosen)."""

    weighting: Weighting
    settings: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, float]
    value: float
    repeats: Repeats | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "weighting": self.weighting.model_dump(mode="json"),
            "settings": {name: dict(settings) for name, settings in self.settings.items()},
            "weights": dict(self.weights),
            "value": self.value,
            "repeats": self.repeats,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Incumbent:
        """The incumbent that `as_json` wrote."""
        weighting = Weighting.model_validate(content["weighting"])
        value, repeats = float(content["value"]), content.get("repeats")
        return cls(weighting, content["settings"], content["weights"], value, repeats)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Changed settings after some of the periods: score matrices of the changed families, and the
    incumbent that they would make."""

    parts: Mapping[str, Sequence[ScoreMatrix]]
    incumbent: Incumbent

    @property
    def value(self) -> float:
        """The value over the periods so far."""
        return self.incumbent.value


@dataclass(slots=True)
class FamilyEvaluator:
    """The validation periods of a shop and the incumbent that is to be improved.

    `seconds` holds each family's last cost: fits and scores of all periods together. `unscored` are
    families of the incumbent that return nothing on the validation periods and keep their weight.
    """

    source: TrainingSource
    time_splits: TimeSplits
    recipe: Recipe
    placement: Placement
    objective: BlendObjective
    tables: tuple[CandidateTable, ...]
    eligible: tuple[Mask, ...]
    parts: dict[str, list[ScoreMatrix]]
    incumbent: Incumbent
    unscored: frozenset[str]
    clock: Callable[[], float]
    seconds: dict[str, float]
    _read: dict[str, list[TrainingData]] = field(default_factory=dict, repr=False)

    def families(self) -> list[str]:
        """The families that return scores, the heaviest first."""
        weights = self.incumbent.weights
        return sorted(self.parts, key=lambda name: (-weights.get(name, 0.0), name))

    def kinds(self) -> frozenset[str]:
        """The kinds of event that happened before the newest cut."""
        data = next(self._data(self.incumbent.weighting))
        return frozenset(EVENT_KINDS[number] for number in np.unique(data.popularity.kinds))

    def try_family(self, family: str, settings: Mapping[str, Any]) -> Iterator[TrialResult]:
        """The family with these settings and its best weight above 0, period by period.

        Raises RecsysError where the family refuses the settings or the data.
        """
        others = {name: w for name, w in self.incumbent.weights.items() if name != family}
        rest = self._totals(others)
        whole = sum(others.values()) or 1.0
        weights = {share * whole for share in WEIGHTS_TRIED}
        weights |= {self.incumbent.weights.get(family, 0.0)} - {0.0}
        parts: list[ScoreMatrix] = []
        started = self.clock()
        for period, data in enumerate(self._data(self.incumbent.weighting)):
            parts.append(self._part(period, family, settings, data))
            values = {
                weight: self.objective.value(
                    [
                        scores + np.float32(weight) * part
                        for scores, part in zip(rest, parts, strict=False)
                    ]
                )
                for weight in sorted(weights)
            }
            best = max(values, key=lambda weight: values[weight])
            yield TrialResult(
                {family: list(parts)},
                replace(
                    self.incumbent,
                    settings={**self.incumbent.settings, family: dict(settings)},
                    weights={**others, family: best},
                    value=values[best],
                ),
            )
        self.seconds[family] = self.clock() - started

    def try_weighting(self, weighting: Weighting) -> Iterator[TrialResult]:
        """Events weighed in another way, the families that have a weight fitted anew, period by
        period; the weights are adapted after the last one.

        The costliest families keep their old scores until the weighting is adopted.
        """
        weights = self.incumbent.weights
        used = [name for name in self.families() if weights.get(name, 0.0) > 0]
        costs = {name: self.seconds.get(name, 0.0) for name in used}
        refitted = [name for name in used if costs[name] <= COSTLY_SHARE * sum(costs.values())]
        parts: dict[str, list[ScoreMatrix]] = {name: [] for name in refitted}
        for period, data in enumerate(self._data(weighting)):
            for name in refitted:
                parts[name].append(self._part(period, name, self.incumbent.settings[name], data))
            incumbent = replace(self.incumbent, weighting=weighting)
            if period + 1 < len(self.tables):
                value = self.objective.value(self._totals(weights, parts, periods=period + 1))
                yield TrialResult(parts, replace(incumbent, value=value))
            else:
                yield TrialResult(
                    parts, self._adapted(incumbent, {**self.parts, **parts}, sweeps=1)
                )

    def adopt(self, trial_result: TrialResult) -> None:
        """Makes a result over all periods the incumbent; families that it did not refit under a
        changed weighting are refitted."""
        changed = trial_result.incumbent.weighting != self.incumbent.weighting
        self.incumbent = trial_result.incumbent
        self.parts.update({name: list(parts) for name, parts in trial_result.parts.items()})
        if changed:
            for name in self.parts.keys() - trial_result.parts.keys():
                self.parts[name] = [
                    self._part(period, name, self.incumbent.settings[name], data)
                    for period, data in enumerate(self._data(self.incumbent.weighting))
                ]
            key = self.incumbent.weighting.model_dump_json()
            self._read = {key: self._read[key]}

    def adapt_weights(self, *, sweeps: int = 2) -> None:
        """Adapts the weights of all families to each other."""
        self.incumbent = self._adapted(self.incumbent, self.parts, sweeps=sweeps)

    def worth(self) -> dict[str, float]:
        """Family → how much of the value is lost without it, the other weights as they are."""
        whole = self.objective.value(self._totals(self.incumbent.weights))
        lost = {}
        for name, weight in self.incumbent.weights.items():
            if weight > 0 and name not in self.unscored:
                others = {other: w for other, w in self.incumbent.weights.items() if other != name}
                lost[name] = whole - self.objective.value(self._totals(others))
        return lost

    def measures(self) -> list[tuple[float, float]]:
        """Per period recall@n + NDCG@n of all items and of items new to the customer."""
        scores = self._totals(self.incumbent.weights)
        return [table.measure(matrix) for table, matrix in zip(self.tables, scores, strict=True)]

    def _adapted(
        self, incumbent: Incumbent, parts: Mapping[str, Sequence[ScoreMatrix]], *, sweeps: int
    ) -> Incumbent:
        names = self.families()
        weights = np.array([incumbent.weights.get(name, 0.0) for name in names])
        by_period = [[parts[name][period] for name in names] for period in range(len(self.tables))]
        adapted, value = coordinate_ascent(
            self.objective, by_period, weights, np.ones(len(names), np.bool_), sweeps=sweeps
        )
        free = 1.0 - sum(incumbent.weights.get(name, 0.0) for name in self.unscored)
        kept = {name: incumbent.weights.get(name, 0.0) for name in self.unscored}
        scaled = dict(zip(names, (shares(adapted) * free).tolist(), strict=True))
        return replace(incumbent, weights={**kept, **scaled}, value=value)

    def _totals(
        self,
        weights: Mapping[str, float],
        instead: Mapping[str, Sequence[ScoreMatrix]] = {},
        *,
        periods: int | None = None,
    ) -> list[ScoreMatrix]:
        names = list(self.parts)
        by_period = [
            [(instead.get(name) or self.parts[name])[period] for name in names]
            for period in range(len(self.tables) if periods is None else periods)
        ]
        return totals(by_period, np.array([weights.get(name, 0.0) for name in names]))

    def _data(self, weighting: Weighting) -> Iterator[TrainingData]:
        """The training data before each cut, read when first needed and kept."""
        recipe = self.recipe.model_copy(update={"weighting": weighting})
        read = self._read.setdefault(weighting.model_dump_json(), [])
        for period, cut in enumerate(self.time_splits.validations):
            if period == len(read):
                read.append(self.source.read_uncached(cut, recipe))
            yield read[period]

    def forget(self, weighting: Weighting) -> None:
        """Frees the data of a weighting that was not adopted."""
        if weighting != self.incumbent.weighting:
            self._read.pop(weighting.model_dump_json(), None)

    def _part(
        self, period: int, family: str, settings: Mapping[str, Any], data: TrainingData
    ) -> ScoreMatrix:
        recipe = self.recipe.model_copy(update={"weighting": data.weighting})
        table = self.tables[period]
        return part_of(
            fit(family, data, single_model_recipe(recipe, family, settings)),
            table,
            placement_queries(data, table.persons, self.placement, self.recipe.segments),
            self.placement,
            self.eligible[period],
        )


def single_model_recipe(recipe: Recipe, family: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with one model; its settings are checked where it is fitted."""
    return recipe.model_copy(update={"models": {family: dict(settings)}})
