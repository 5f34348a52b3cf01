"""`--task purchases`: events of a shop, split at a date, through the nightly run's own trial.

Blend and ranker are chosen on the periods before the split; then the recipe and every model of its
placement alone are measured on the same customers after it.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.errors import RecsysError
from recsys.evaluation.report import EvaluationRules
from recsys.events.log import EventLog
from recsys.events.schema import PURCHASE
from recsys.store.sqlite import SQLiteStore
from training.benchmark.results import CandidateResult, TuningResult
from training.benchmark.tuning.search import Budget
from training.code_revision import code_revision
from training.config import Recipe, Split
from training.datasets import DataFile, ImportOptions, import_files
from training.fitting.build import fit
from training.fitting.source import TrainingSource, fingerprint, read_source
from training.fitting.trial import TimeSplits, time_splits_of, try_recipe
from training.progress import StepProgress, Steps
from training.run_context import Provenance, RunContext
from training.workspace import Workspace

VALIDATIONS: Final = 3
VALIDATION_DAYS: Final = 30.0
PURCHASES_HALF_LIFE: Final = 60.0
"""The half-life in days where a log holds nothing but purchases."""
SHOWN: Final = (
    "recall_at_20",
    "ndcg_at_20",
    "hit_rate_at_20",
    "new_items/recall_at_20",
    "new_items/ndcg_at_20",
)
"""The columns of the printed table."""


def measure(
    file: DataFile,
    split: datetime,
    *,
    recipe: Recipe | None,
    purchases_recipe: Recipe | None,
    options: ImportOptions,
    budget: Budget,
    at: datetime,
    steps: Steps,
) -> tuple[TuningResult, str]:
    """The result, and a description of what was read; the imported log is deleted at the end.

    Without a `recipe` it is the default one, or `purchases_recipe` where the log holds nothing but
    purchases, less the models that refuse these data. InsufficientData where the split leaves
    nothing to learn from or to measure on.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
        with steps.step("import"):
            source = import_source(file, options, Workspace(Path(root)), at=at)
        splits = time_splits_of(
            source,
            Split(test_from=split, validations=VALIDATIONS, validation_days=VALIDATION_DAYS),
        )
        with threadpool_limits(1, "blas"):
            with steps.step("recipe") as step:
                used = recipe or _fitting_recipe(
                    source, splits, _default_recipe(source, splits, purchases_recipe), step=step
                )
            result = _measure(source, splits, used, budget=budget, steps=steps)
        return result, (
            f"{source.events:,} events, {len(source.items):,} items, test from {split:%Y-%m-%d}"
        )


def import_source(
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


def _measure(
    source: TrainingSource, splits: TimeSplits, recipe: Recipe, *, budget: Budget, steps: Steps
) -> TuningResult:
    rules = EvaluationRules(singles=True)
    provenance = Provenance("benchmark", code_revision(), fingerprint(source.log))
    context = RunContext(provenance, seed=recipe.seed)
    with steps.step("trial") as step:
        trial = try_recipe(
            source,
            splits,
            recipe,
            rules,
            context=context.reporting_to(step),
        )
    report = trial.report
    chosen = next(entry for entry in trial.placements if entry.name == rules.placement)
    models = {
        **{f"baseline {name}": CandidateResult(m) for name, m in report.baselines.items()},
        **{
            name: CandidateResult(measured, settings=recipe.models.get(name, {}))
            for name, measured in trial.singles.items()
        },
    }
    return TuningResult.of(
        models,
        {name: weight for name, weight in chosen.blend.items() if weight > 0},
        report.per_person,
        further=report.overall,
        seed=recipe.seed,
        ranked=any(decision.wins for decision in trial.ranker_decisions),
        seconds=budget.spent,
        memory=max(cost.peak_mb for cost in steps.costs),
        n_test=report.estimates["recall_at_20"].customers,
        n_validation=0,
    )


def _fitting_recipe(
    source: TrainingSource, splits: TimeSplits, recipe: Recipe, *, step: StepProgress
) -> Recipe:
    """The recipe with the measured placement alone, less the models that refuse what lies before
    the test: a set that is too large for one family is no reason to measure none."""
    placement = next(p for p in recipe.placements if p.name == EvaluationRules().placement)
    data = source.as_of(splits.test, recipe)
    blend = dict(placement.blend)
    for name in placement.blend:
        step.report_progress(name)
        try:
            fit(name, data, recipe)
        except RecsysError as refusal:
            step.log(f"{name} is left out: {refusal}")
            del blend[name]
    return recipe.model_copy(update={"placements": (placement.with_blend(blend),)})


def _default_recipe(
    source: TrainingSource, splits: TimeSplits, purchases_recipe: Recipe | None
) -> Recipe:
    """The default recipe; for a log of purchases alone the one given for them, or else the default
    with a weight for purchases that decays over months."""
    recipe = Recipe()
    kinds = np.unique(source.as_of(splits.test, recipe).timeline.kinds)
    source.forget()
    if kinds.tolist() != [PURCHASE]:
        return recipe
    if purchases_recipe is not None:
        return purchases_recipe
    weighting = recipe.weighting.model_copy(
        update={"kind_weights": {"purchase": 1.0}, "half_life_days": PURCHASES_HALF_LIFE}
    )
    return recipe.model_copy(update={"weighting": weighting})
