"""Opens a `FamilyEvaluator`: fits every family before each cut and tabulates the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recsys.bundle.placements import Placement
from recsys.dataset.training_data import TrainingData
from recsys.errors import RecsysError
from recsys.evaluation.held_out_queries import live_catalog_as_of
from recsys.ids import Mask
from recsys.models.protocol import Model
from recsys.models.registry import config_of
from recsys.query.query import Query
from training.config import Recipe
from training.fitting.blend_weights import BlendObjective, totals
from training.fitting.build import build, fit
from training.fitting.candidate_table import (
    LEAST_SCORED,
    CandidateTable,
    Period,
    ScoreMatrix,
    placement_queries,
    tabulate,
)
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits
from training.run_context import RunContext
from training.search.family_trials import (
    FamilyEvaluator,
    Incumbent,
    Starts,
    single_model_recipe,
)

SAMPLE_SIZE = 100
"""Customers sampled to test whether a model family returns any candidate."""


def open_family_evaluator(
    source: TrainingSource,
    time_splits: TimeSplits,
    recipe: Recipe,
    placement: Placement,
    incumbent: Incumbent,
    *,
    n: int,
    starts: Starts | None,
    seconds_per_fit: float,
    clock: Callable[[], float],
    context: RunContext,
) -> FamilyEvaluator:
    """Fits every family of the incumbent before each cut and tabulates the candidates.

    `starts` are the measures that have the value 1; None uses those of the incumbent. Families that
    refuse the data, or take more than `seconds_per_fit`, are left out with a message; so are,
    silently, those that return no candidate to anybody at a cut.
    """
    recipe = recipe.model_copy(update={"weighting": incumbent.weighting})
    preparation = _Preparation(
        recipe,
        placement,
        incumbent,
        seconds_per_fit=seconds_per_fit,
        clock=clock,
        context=context,
        seconds=dict.fromkeys(incumbent.settings, 0.0),
    )
    ends = (time_splits.test, *time_splits.validations[:-1])
    for cut, until in zip(time_splits.validations, ends, strict=True):
        data = source.read_uncached(cut, recipe)
        held_out = source.held_out(
            cut,
            until,
            sample=recipe.blend_search.sample,
            seed=recipe.seed,
            objective=recipe.objective,
        )
        bundle = build(data, recipe, context=context, placements=())
        preparation.add(Period(bundle, data, held_out), n=n)
    tables, parts = preparation.tables, preparation.complete_parts()
    unscored = preparation.unscored
    weights = {name: incumbent.weights.get(name, 0.0) for name in [*parts, *sorted(unscored)]}
    by_period = [[parts[name][period] for name in parts] for period in range(len(tables))]
    scores = totals(by_period, np.array([weights[name] for name in parts]))
    objective = BlendObjective.against(
        tables, scores, new_items_share=recipe.blend_search.new_items_share
    )
    if starts is not None:
        objective = replace(objective, start=starts)
    return FamilyEvaluator(
        source=source,
        time_splits=time_splits,
        recipe=recipe,
        placement=placement,
        objective=objective,
        tables=tuple(tables),
        eligible=tuple(preparation.eligible),
        parts=parts,
        incumbent=replace(
            incumbent,
            settings={name: incumbent.settings[name] for name in weights},
            weights=weights,
            value=objective.value(scores),
        ),
        unscored=frozenset(unscored),
        clock=clock,
        seconds=preparation.seconds,
        _read={incumbent.weighting.model_dump_json(): preparation.data},
    )


@dataclass(slots=True)
class _Preparation:
    """The validation periods prepared so far, and which families are still in.

    `seconds` holds the cost of each family that is in; a family that is left out is removed from
    it. `unscored` are the families with a weight that return no candidate.
    """

    recipe: Recipe
    placement: Placement
    incumbent: Incumbent
    seconds_per_fit: float
    clock: Callable[[], float]
    context: RunContext
    seconds: dict[str, float]
    unscored: set[str] = field(default_factory=set)
    data: list[TrainingData] = field(default_factory=list)
    eligible: list[Mask] = field(default_factory=list)
    tables: list[CandidateTable] = field(default_factory=list)
    parts: dict[str, list[ScoreMatrix]] = field(default_factory=dict)

    def add(self, period: Period, *, n: int) -> None:
        """Fits the families that are in before the period and tabulates its candidates."""
        data, held_out, recipe = period.data, period.held_out, self.recipe
        eligible = live_catalog_as_of(period.bundle).eligible(held_out.cut)
        known = [person for person in held_out.persons if data.users.number(person) is not None]
        queries = placement_queries(data, known[:SAMPLE_SIZE], self.placement, recipe.segments)
        models: dict[str, Model] = {}
        for name in list(self.seconds):
            self.context.report_progress(f"{name} as of {held_out.cut:%Y-%m-%d}")
            model = self._fitted(name, data, queries, eligible)
            if model is not None:
                models[name] = model
        self.context.report_progress(f"candidates as of {held_out.cut:%Y-%m-%d}")
        began = self.clock()
        table, by_model = tabulate(
            data,
            held_out,
            models,
            self.placement,
            eligible=eligible,
            objective=recipe.objective,
            sample=recipe.blend_search.sample,
            n=n,
            rng=np.random.default_rng(recipe.seed),
            segments=recipe.segments,
        )
        self.data.append(data)
        self.eligible.append(eligible)
        self.tables.append(table)
        for name, part in zip(models, by_model, strict=True):
            self.parts.setdefault(name, []).append(part)
            self.seconds[name] += (self.clock() - began) / len(models)

    def complete_parts(self) -> dict[str, list[ScoreMatrix]]:
        """The score matrices of the families that were fitted in every period."""
        return {
            name: by_period
            for name, by_period in self.parts.items()
            if len(by_period) == len(self.tables)
        }

    def _fitted(
        self, name: str, data: TrainingData, queries: list[Query], eligible: Mask
    ) -> Model | None:
        """The family's model; None where the family is left out from here on."""
        settings, first = self.incumbent.settings[name], not self.data
        began = self.clock()
        try:
            if first and (foreseen := _foreseen(name, settings, data, self.recipe, self.clock)):
                began = self.clock()
                if foreseen > self.seconds_per_fit:
                    self._leave_out(name, f"a fit would take some {foreseen:.0f} s.")
                    return None
            model = fit(name, data, single_model_recipe(self.recipe, name, settings))
        except RecsysError as refusal:
            self._leave_out(name, str(refusal))
            return None
        seconds = self.clock() - began
        scored = sum(map(bool, map(len, model.condition(queries).retrieve(1, eligible))))
        if first and scored < max(1.0, LEAST_SCORED * len(queries)):
            if self.incumbent.weights.get(name, 0.0) > 0:
                self.unscored.add(name)
            del self.seconds[name]
            return None
        if seconds > self.seconds_per_fit:
            self._leave_out(name, f"one fit took {seconds:.0f} s.")
            return None
        self.seconds[name] += seconds
        return model

    def _leave_out(self, name: str, reason: str) -> None:
        self.context.log(f"{name} is left out: {reason}")
        del self.seconds[name]


def _foreseen(
    family: str,
    settings: Mapping[str, Any],
    data: TrainingData,
    recipe: Recipe,
    clock: Callable[[], float],
) -> float:
    """Estimated seconds of a fit, from a fit of one epoch; 0 for families without epochs."""
    config = config_of(family, settings)
    epochs = getattr(config, "epochs", None)
    if not isinstance(epochs, int):
        return 0.0
    began = clock()
    fit(family, data, single_model_recipe(recipe, family, {**settings, "epochs": 1}))
    return (clock() - began) * epochs
