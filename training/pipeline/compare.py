"""Two registered versions measured on the same customers: paired intervals, both recipes fitted at
the same cut, so that neither has seen the days that they are measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from recsys.errors import InsufficientData
from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.events.log import EventLog
from recsys.store.sqlite import SQLiteStore
from training.code_revision import code_revision
from training.config import Recipe, TrainingConfig
from training.fitting.source import read_source
from training.fitting.trial import Trial, time_splits_of, try_recipe
from training.run_context import SILENT, Provenance, Reporter, RunContext
from training.tracking import ModelVersion, Tracking
from training.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two versions came to on the same held-out days; `differences` are first − second."""

    first: ModelVersion
    second: ModelVersion
    cut: datetime
    until: datetime
    values: tuple[Mapping[str, Estimate], Mapping[str, Estimate]]
    differences: Mapping[str, Estimate]
    same_recipe: bool


def compare(
    first: str,
    second: str,
    *,
    config: TrainingConfig,
    now: datetime,
    reporter: Reporter = SILENT,
) -> Comparison:
    """The comparison of two versions of the workspace's registry on its present event log.

    TrackingError where a version does not exist, InsufficientData where its recipe cannot be
    fitted by this code.
    """
    workspace = Workspace(config.workspace)
    tracking = Tracking.of(workspace)
    versions = (tracking.version(first), tracking.version(second))
    recipes = tuple(_recipe(version) for version in versions)
    store = SQLiteStore(workspace.store)
    try:
        source = read_source(store, EventLog(workspace.event_log), now=now)
    finally:
        store.close()
    time_splits = time_splits_of(source, config.split)
    provenance = Provenance("comparison", code_revision(), source.fingerprint)
    context = RunContext(provenance, seed=config.recipe.seed, reporter=reporter)
    trials: dict[str, Trial] = {}
    for recipe in recipes:
        if recipe.digest() not in trials:
            trials[recipe.digest()] = try_recipe(
                source,
                time_splits,
                recipe,
                config.evaluation,
                context=context,
                objective=config.recipe.objective,
            )
    ours, theirs = (trials[recipe.digest()].report for recipe in recipes)
    return Comparison(
        first=versions[0],
        second=versions[1],
        cut=time_splits.test,
        until=time_splits.end,
        values=(ours.estimates, theirs.estimates),
        differences=paired_differences(
            ours.per_person,
            theirs.per_person,
            rng=context.rng(),
            resamples=config.gate.resamples,
        ),
        same_recipe=len(trials) == 1,
    )


def _recipe(version: ModelVersion) -> Recipe:
    try:
        return Recipe.model_validate(version.recipe)
    except ValidationError as error:
        raise InsufficientData(
            f"The recipe of version {version.version} cannot be fitted by this code: "
            f"{error.errors()[0]['msg']}."
        ) from error
