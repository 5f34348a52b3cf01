"""`Trial`: a recipe fitted on the days before a cut and evaluated on the days after it.

Its blends and rankers are chosen on validation periods that lie before the cut as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import RERANK, Placement
from recsys.dataset.splitting import HeldOut
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.held_out_queries import HeldOutQueries
from recsys.evaluation.intervals import Estimate, Values, paired_differences
from recsys.evaluation.objectives import Objective
from recsys.evaluation.report import EvaluationRules, Report
from recsys.ranking.ranker import Ranker
from training.config import Recipe, Split
from training.fitting.blend_weights import Period, choose_blend
from training.fitting.build import build
from training.fitting.fit_ranker import RankerDecision, decide_ranker, fit_ranker
from training.fitting.ranker_labels import RankerTrainingSets
from training.fitting.rerank_weights import LEAST_LISTS, judged_lists, learnt_weights
from training.fitting.source import TrainingSource
from training.run_context import RunContext

LEAST_DAYS_BEFORE = 1.0
"""A cut needs at least so many days of events before it."""


@dataclass(frozen=True, slots=True)
class TimeSplits:
    """The moments that separate fitting, choosing and measuring: validations < test < end.

    `validations` are the starts of the validation periods, newest first.
    """

    validations: tuple[datetime, ...]
    test: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one recipe: placements with their chosen blends, the report, and whether each
    ranker that was asked for serves.

    `singles` holds the measures of each model of the placement by itself, per person as in the
    report; empty unless `EvaluationRules.singles`. `training_sets` are the label tables of the
    rankers, to be extended by later days.
    """

    recipe: Recipe
    placements: tuple[Placement, ...]
    report: Report
    ranker_decisions: tuple[RankerDecision, ...] = ()
    singles: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)
    training_sets: tuple[RankerTrainingSets, ...] = field(default=(), repr=False)

    def above_singles(self) -> dict[str, dict[str, Estimate]]:
        """Model → measure → the report minus that model alone, on the same customers."""
        rng = np.random.default_rng(self.recipe.seed)
        return {
            name: paired_differences(self.report.per_person, alone, rng=rng)
            for name, alone in self.singles.items()
        }


def time_splits_of(source: TrainingSource, split: Split) -> TimeSplits:
    """Where the source is cut; InsufficientData where nothing would be left to learn from.

    Validation periods for which there are no days are left out, oldest first.
    """
    test = split.test_from or source.newest - timedelta(days=split.test_days)
    first = source.oldest + timedelta(days=LEAST_DAYS_BEFORE)
    if not first <= test < source.newest:
        span = (source.newest - source.oldest).total_seconds() / 86400
        raise InsufficientData(
            f"The events span {span:.1f} days ({source.oldest:%Y-%m-%d} to "
            f"{source.newest:%Y-%m-%d}); a test from {test:%Y-%m-%d} leaves nothing to learn from "
            "or to measure on. Set 'split.test_days' lower or collect more days."
        )
    step = timedelta(days=split.validation_days)
    before = tuple(test - step * (index + 1) for index in range(split.validations))
    return TimeSplits(tuple(cut for cut in before if cut >= first), test, source.newest)


def try_recipe(
    source: TrainingSource,
    time_splits: TimeSplits,
    recipe: Recipe,
    rules: EvaluationRules,
    *,
    context: RunContext,
    objective: Objective | None = None,
) -> Trial:
    """Chooses the blends on the validation periods, fits at the test cut, measures after it.

    The context's seed draws the customers that are measured: two trials with the same seed measure
    the same customers. `objective` says what is measured, None as the recipe does; blends follow
    the recipe's own.
    """
    periods = validation_periods(source, time_splits, recipe, context=context)
    placements = choose_placements(periods, recipe, rules, context=context)
    placements = learn_list_weights(source, time_splits, recipe, placements, context=context)
    training_sets = ranker_training_sets(
        source, recipe, placements, anchor=time_splits.test, built=periods
    )
    ranker_decisions = decide_rankers(training_sets, periods, rules, context=context)
    rankers = fit_rankers(training_sets, ranker_decisions, until=time_splits.test, context=context)
    data = source.as_of(time_splits.test, recipe)
    bundle = build(
        data,
        recipe,
        context=context.within("fit"),
        placements=placements,
        rankers=rankers,
    )
    held_out = source.held_out(
        time_splits.test,
        time_splits.end,
        sample=rules.sample,
        seed=context.seed,
        objective=objective or recipe.objective,
    )
    context.report_progress("evaluate")
    report = evaluate(
        bundle, data, held_out, rules=rules, rng=context.rng(), progress=context.count
    )
    singles = (
        measure_singles(bundle, data, held_out, rules, context=context) if rules.singles else {}
    )
    return Trial(recipe, placements, report, ranker_decisions, singles, training_sets)


def measure_singles(
    bundle: Bundle,
    data: TrainingData,
    held_out: HeldOut,
    rules: EvaluationRules,
    *,
    context: RunContext,
) -> dict[str, Mapping[str, Values]]:
    """Model → its measures as the only one of the placement's blend, the fallback behind it."""
    placement = bundle.placements[rules.placement]
    ranker = bundle.rankers.get(placement.name)
    models = (*placement.models, *(() if ranker is None else ranker.models))
    questions = HeldOutQueries.of(bundle, data, held_out)
    measured: dict[str, Mapping[str, Values]] = {}
    for name in dict.fromkeys(models):
        context.report_progress(f"{name} alone")
        alone = {placement.name: placement.with_blend({name: 1.0})}
        measured[name] = questions.measure(replace(bundle, placements=alone, rankers={}), rules)
    return measured


def validation_periods(
    source: TrainingSource,
    time_splits: TimeSplits,
    recipe: Recipe,
    *,
    context: RunContext,
) -> tuple[Period, ...]:
    """The validation periods with bundles fitted before each, newest first.

    Empty where neither a blend nor a ranker is to be chosen on them.
    """
    search = recipe.blend_search
    chosen = set(search.placements) if search.sweeps else set()
    if recipe.ranker is not None:
        chosen |= set(recipe.ranker.placements)
    searched = tuple(
        placement.with_blend({name: max(w, 1e-9) for name, w in placement.blend.items()})
        for placement in recipe.placements
        if placement.name in chosen
    )
    if not searched:
        return ()
    ends = (time_splits.test, *time_splits.validations[:-1])
    periods = []
    for cut, until in zip(time_splits.validations, ends, strict=False):
        data = source.as_of(cut, recipe)
        bundle = build(
            data,
            recipe,
            context=context.within(f"fit as of {cut:%Y-%m-%d}"),
            placements=searched,
        )
        held_out = source.held_out(
            cut, until, sample=search.sample, seed=recipe.seed, objective=recipe.objective
        )
        periods.append(Period(bundle, data, held_out))
    return tuple(periods)


def choose_placements(
    periods: Sequence[Period],
    recipe: Recipe,
    rules: EvaluationRules,
    *,
    context: RunContext,
) -> tuple[Placement, ...]:
    """The recipe's placements with blends chosen on the validation periods.

    Without a validation period, or with zero sweeps, the recipe's own blends stand.
    """
    search = recipe.blend_search
    if not periods or not search.sweeps:
        return recipe.placements
    return tuple(
        choose_blend(
            periods,
            placement,
            search,
            n=rules.n,
            rng=np.random.default_rng(recipe.seed),
            objective=recipe.objective,
            context=context,
        )
        if placement.name in search.placements
        else placement
        for placement in recipe.placements
    )


def learn_list_weights(
    source: TrainingSource,
    time_splits: TimeSplits,
    recipe: Recipe,
    placements: Sequence[Placement],
    *,
    context: RunContext,
) -> tuple[Placement, ...]:
    """The placements; `rerank` gets weights learnt from the newest validation period's searches.

    Unchanged where too few searches were logged, or `blend_search.lists` is off.
    """
    placement = next((given for given in placements if given.name == RERANK), None)
    if placement is None or not time_splits.validations or not recipe.blend_search.lists:
        return tuple(placements)
    later = source.as_of(time_splits.test, recipe)
    if (
        np.count_nonzero(later.impressions.times >= time_splits.validations[0].timestamp())
        < LEAST_LISTS
    ):
        return tuple(placements)
    known = source.as_of(time_splits.validations[0], recipe)
    bundle = build(
        known,
        recipe,
        context=context.within("lists"),
        placements=(
            placement.with_blend({name: max(w, 1e-9) for name, w in placement.blend.items()}),
        ),
    )
    learnt = learnt_weights(bundle, placement, judged_lists(bundle, known, later))
    return tuple(learnt if given is placement else given for given in placements)


def ranker_training_sets(
    source: TrainingSource,
    recipe: Recipe,
    placements: Sequence[Placement],
    *,
    anchor: datetime,
    built: Sequence[Period] = (),
) -> tuple[RankerTrainingSets, ...]:
    """The training sets of each placement that the recipe wants a ranker for; one of their periods
    ends at `anchor`."""
    config = recipe.ranker
    if config is None:
        return ()
    return tuple(
        RankerTrainingSets(source, recipe, config, placement, anchor, built)
        for placement in placements
        if placement.name in config.placements
    )


def decide_rankers(
    training_sets: Sequence[RankerTrainingSets],
    periods: Sequence[Period],
    rules: EvaluationRules,
    *,
    context: RunContext,
) -> tuple[RankerDecision, ...]:
    """Whether each ranker, trained on what happened before the newest validation period, beats its
    blend on that period. Empty without a validation period."""
    ranker_decisions = []
    for training_set in training_sets if periods else ():
        newest, seed = periods[0], training_set.recipe.seed
        tables = training_set.before(newest.held_out.cut, context=context)
        ranker = fit_ranker(tables, training_set.config, seed=seed)
        if ranker is not None:
            ranker_decisions.append(
                decide_ranker(ranker, newest, training_set.placement, rules, seed=seed)
            )
    return tuple(ranker_decisions)


def fit_rankers(
    training_sets: Sequence[RankerTrainingSets],
    ranker_decisions: Sequence[RankerDecision],
    *,
    until: datetime,
    context: RunContext,
) -> dict[str, Ranker]:
    """Placement name → its ranker, trained on all periods that end by `until`.

    Only of placements whose ranker beat the blend.
    """
    won = {decision.placement for decision in ranker_decisions if decision.wins}
    rankers = {}
    for training_set in training_sets:
        if training_set.placement.name in won:
            tables = training_set.before(until, context=context)
            ranker = fit_ranker(tables, training_set.config, seed=training_set.recipe.seed)
            if ranker is not None:
                rankers[training_set.placement.name] = ranker
    return rankers
