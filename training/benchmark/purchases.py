"""`--task purchases`: events of a shop, cut at a date, through the nightly run's own trial.

What is chosen, is chosen on the periods before the split; then every model of the placement is
measured by itself on the same customers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.bundle.placements import Placement
from recsys.errors import RecsysError
from recsys.evaluation.held_out_queries import HeldOutQueries
from recsys.evaluation.intervals import Values
from recsys.evaluation.report import EvaluationRules
from recsys.events.log import EventLog
from recsys.events.schema import PURCHASE
from recsys.store.sqlite import SQLiteStore
from training.benchmark.measures import means
from training.benchmark.tuning.search import Budget, Outcome, Row
from training.code_revision import code_revision
from training.config import Recipe, Split
from training.datasets import DataFile, ImportOptions, import_files
from training.fitting.build import build, fit
from training.fitting.source import TrainingSource, fingerprint, read_source
from training.fitting.trial import TimeSplits, time_splits_of, try_recipe
from training.progress import StepProgress, Steps
from training.run_context import Provenance, RunContext
from training.workspace import Workspace

VALIDATIONS: Final = 3
VALIDATION_DAYS: Final = 30.0
PURCHASES_ALONE: Final = 60.0
"""The half-life in days where a log holds purchases and nothing else."""


def measure_purchases(
    file: DataFile,
    split: datetime,
    *,
    recipe: Recipe | None,
    for_purchases: Recipe | None,
    options: ImportOptions,
    budget: Budget,
    at: datetime,
    steps: Steps,
) -> tuple[Outcome, str]:
    """The outcome, and what was read in words. The log lives as long as the measuring.

    `recipe` None is the default one, or `for_purchases` where the log has purchases alone, without
    the models that refuse these data.
    InsufficientData where the split leaves nothing to learn from or to measure on.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
        workspace = Workspace(Path(root))
        with steps.step("import"):
            source = imported(file, options, workspace, at=at)
        time_splits = time_splits_of(
            source,
            Split(test_from=split, validations=VALIDATIONS, validation_days=VALIDATION_DAYS),
        )
        with threadpool_limits(1, "blas"), steps.step("recipe") as step:
            chosen_recipe = recipe or _willing(
                source, time_splits, _default(source, time_splits, for_purchases), step=step
            )
        with threadpool_limits(1, "blas"):
            outcome = _measured(source, time_splits, chosen_recipe, budget=budget, steps=steps)
        return outcome, (
            f"{source.events:,} events, {len(source.items):,} items, test from {split:%Y-%m-%d}"
        )


def _measured(
    source: TrainingSource, time_splits: TimeSplits, recipe: Recipe, *, budget: Budget, steps: Steps
) -> Outcome:
    rules = EvaluationRules()
    provenance = Provenance("benchmark", code_revision(), fingerprint(source.log))
    context = RunContext(provenance, seed=recipe.seed)
    with steps.step("trial") as step:
        trial = try_recipe(
            source,
            time_splits,
            recipe,
            rules,
            context=context.reporting_to(step),
        )
    placement = next(one for one in recipe.placements if one.name == rules.placement)
    chosen = next(one for one in trial.placements if one.name == rules.placement)
    models: dict[str, Row] = {
        f"baseline {name}": Row(measured, seconds=0.0, memory=0.0, settings={})
        for name, measured in trial.report.baselines.items()
    }
    for name in placement.blend:
        with steps.step(name):
            measured = _alone(name, placement, source, time_splits, recipe, rules, context)
        cost = steps.costs[-1]
        models[name] = Row(measured, cost.seconds, cost.peak_mb, recipe.models.get(name, {}))
    return Outcome(
        models={
            name: row.led_by(trial.report.per_person, rng=np.random.default_rng(recipe.seed))
            for name, row in models.items()
        },
        blend={name: weight for name, weight in chosen.blend.items() if weight > 0},
        chosen={**means(trial.report.per_person), **trial.report.overall},
        ranked=any(decision.wins for decision in trial.ranker_decisions),
        seconds=budget.spent,
        memory=max(cost.peak_mb for cost in steps.costs),
        questions=trial.report.estimates["recall_at_20"].customers,
        validation_questions=0,
    )


def _alone(
    name: str,
    placement: Placement,
    source: TrainingSource,
    time_splits: TimeSplits,
    recipe: Recipe,
    rules: EvaluationRules,
    context: RunContext,
) -> Mapping[str, Values]:
    """The measures of one model with the placement's fallback behind it."""
    data = source.as_of(time_splits.test, recipe)
    bundle = build(data, recipe, context=context, placements=[placement.with_blend({name: 1.0})])
    held_out = source.held_out(
        time_splits.test,
        time_splits.end,
        sample=rules.sample,
        seed=recipe.seed,
        objective=recipe.objective,
    )
    return HeldOutQueries.of(bundle, data, held_out).measure(bundle, rules)


def imported(
    file: DataFile, options: ImportOptions, workspace: Workspace, *, at: datetime
) -> TrainingSource:
    """The file's events, read back from a new workspace."""
    workspace.create()
    store = SQLiteStore(workspace.store)
    try:
        import_files([file], options, workspace=workspace, store=store, at=at)
        return read_source(store, EventLog(workspace.event_log), now=at)
    finally:
        store.close()


def _willing(
    source: TrainingSource, time_splits: TimeSplits, recipe: Recipe, *, step: StepProgress
) -> Recipe:
    """The measured placement of a recipe, without the models that refuse what lies before the
    test: one that is too large for a family is not a reason to measure none."""
    measured = next(one for one in recipe.placements if one.name == EvaluationRules().placement)
    data = source.as_of(time_splits.test, recipe)
    blend = dict(measured.blend)
    for name in measured.blend:
        step.report_progress(name)
        try:
            fit(name, data, recipe)
        except RecsysError as refusal:
            step.log(f"{name} is left out: {refusal}")
            del blend[name]
    return recipe.model_copy(update={"placements": (measured.with_blend(blend),)})


def _default(
    source: TrainingSource, time_splits: TimeSplits, for_purchases: Recipe | None
) -> Recipe:
    """The default recipe; where there are only purchases that for them, if there is one, else each
    purchase counts once and fades in months."""
    recipe = Recipe()
    kinds = np.unique(source.as_of(time_splits.test, recipe).timeline.kinds)
    source.forget()
    if kinds.tolist() != [PURCHASE]:
        return recipe
    if for_purchases is not None:
        return for_purchases
    weighting = recipe.weighting.model_copy(
        update={"kind_weights": {"purchase": 1.0}, "half_life_days": PURCHASES_ALONE}
    )
    return recipe.model_copy(update={"weighting": weighting})
