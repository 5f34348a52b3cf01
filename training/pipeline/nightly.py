"""The nightly run: read, check, split, rehearse, build, evaluate, gate, refit, smoke, publish.

Safe to be killed at any moment: the champion goes on serving, and the next run starts anew. Every
step before `publish` only adds files beside those that are served.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError
from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.bundle.publication import CHALLENGER
from recsys.bundle.save_load import save_bundle
from recsys.errors import InvalidConfig
from recsys.models.registry import family_of
from training.code_revision import code_revision
from training.config import Recipe, TrainingConfig
from training.fitting.build import build, families_needed
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, Trial, fit_rankers, time_splits_of, try_recipe
from training.lock import FileLock
from training.pipeline.gate import Decision, decide
from training.pipeline.intake import check_shop, read_shop
from training.pipeline.publish import make_champion, repair_pointer, stage
from training.pipeline.report import log_changes, log_trial, print_metrics, summary_of
from training.pipeline.smoke_check import rehearse
from training.progress import Steps
from training.run_context import Provenance, RunContext
from training.tracking import ModelVersion, Run, Tracking
from training.workspace import Workspace

STAGING: Final = "staging"
"""Where a new bundle is written before it is copied beside the published ones; below the
workspace."""


@dataclass(frozen=True, slots=True)
class NightlyOutcome:
    """How a run ended. `version` is that of the registry; None where the gate refused."""

    promoted: bool
    reasons: tuple[str, ...]
    version: str | None
    summary: Mapping[str, Any]


def run(
    config: TrainingConfig, *, console: Console, started: datetime, data: Path | None = None
) -> NightlyOutcome:
    """One nightly run. Locked where another is under way; ChecksFailed where the data are bad.

    `data` is imported first, as the section `imports` of the configuration says.
    """
    workspace = Workspace(config.workspace).create()
    refuse_personal_rows(config.recipe)
    steps = Steps(console, "nightly", status=workspace.nightly_status)
    # BLAS over a customer's few items gains nothing from threads, which wait for each other.
    with FileLock(workspace.nightly_lock).hold(), threadpool_limits(1, "blas"):
        tracking = Tracking.of(workspace)
        for repair in recover(tracking, workspace, config):
            steps.log(repair)
        params = config.model_dump(mode="json", exclude={"workspace"})
        with tracking.run("nightly", params=params, tags=_tags(config.recipe)) as tracked:
            return _Night(config, workspace, steps, tracking, tracked, started).run(data)


@dataclass(frozen=True, slots=True)
class _Night:
    """One run that holds the lock and has a run in MLflow."""

    config: TrainingConfig
    workspace: Workspace
    steps: Steps
    tracking: Tracking
    tracked: Run
    started: datetime

    def run(self, data: Path | None) -> NightlyOutcome:
        """The main path."""
        config, steps = self.config, self.steps
        with steps.step("read") as step:
            source = read_shop(self.workspace, config, data, now=self.started, reporter=step)
            context = self._context(source)
        with steps.step("check") as step:
            checks = check_shop(source, config, now=self.started, reporter=step)
        with steps.step("split") as step:
            time_splits = time_splits_of(source, config.split)
            step.log(_described(time_splits))
        with steps.step("rehearse") as step:
            rehearse(source, config.recipe, context=context.reporting_to(step))
        with steps.step("build") as step:
            context = context.reporting_to(step)
            candidate = try_recipe(
                source, time_splits, config.recipe, config.evaluation, context=context
            )
        with steps.step("evaluate") as step:
            context = context.reporting_to(step)
            champion = self._champion_trial(candidate, source, time_splits, context)
            print_metrics(candidate, console=steps.console)
            log_trial(
                self.tracked, candidate, source=source, time_splits=time_splits, checks=checks
            )
            log_changes(self.tracked, candidate, champion)
        with steps.step("gate") as step:
            decision = self._decide(candidate, champion, context)
            step.log("\n".join(decision.reasons))
        version = self._publish(source, candidate, context) if decision.promote else None
        summary = summary_of(
            candidate,
            champion,
            decision,
            steps.costs,
            source=source,
            time_splits=time_splits,
            checks=checks,
            version=version,
            model_version=context.provenance.model_version,
            run_id=self.tracked.run_id,
        )
        self.tracked.log_dict(summary, "summary.json")
        return NightlyOutcome(decision.promote, decision.reasons, version, summary)

    def _publish(self, source: TrainingSource, candidate: Trial, context: RunContext) -> str:
        """Refits the candidate on everything and serves it; gives its number in the registry.

        The copy that will serve is verified and asked once, by `stage`, before anything names it.
        """
        root, keep = self.workspace.published, self.config.keep_bundles
        with self.steps.step("refit") as step:
            directory = self._refit(source, candidate, context.reporting_to(step))
        with self.steps.step("smoke"):
            stage(directory, root=root)
        with self.steps.step("register"):
            # MLflow gets no rows of customers: a version with such models can be promoted only
            # from the published directory.
            self.tracked.log_bundle(directory)
            version = self.tracking.register(self.tracked, tags=_tags(candidate.recipe))
            self.tracking.set_alias(CHALLENGER, version)
        with self.steps.step("publish"):
            make_champion(self.tracking, version, root=root, keep=keep)
            shutil.rmtree(directory, ignore_errors=True)
        return version

    def _context(self, source: TrainingSource) -> RunContext:
        provenance = Provenance(
            model_version=f"{self.started:%Y%m%d-%H%M%S}-{self.tracked.run_id[:6]}",
            code_revision=code_revision(),
            data_fingerprint=source.fingerprint,
            synthetic=source.synthetic,
        )
        return RunContext(provenance, seed=self.config.recipe.seed)

    def _champion_trial(
        self,
        candidate: Trial,
        source: TrainingSource,
        time_splits: TimeSplits,
        context: RunContext,
    ) -> Trial | None:
        """The champion's recipe at the same cut: the candidate's own trial where it is the same.

        None where there is no champion, or its recipe cannot be fitted by this code.
        """
        champion = self.tracking.champion()
        recipe = None if champion is None else _recipe_of(champion, context)
        if recipe is None:
            return None
        if recipe.digest() == candidate.recipe.digest():
            return candidate
        return try_recipe(
            source,
            time_splits,
            recipe,
            self.config.evaluation,
            context=context.within("champion"),
            objective=self.config.recipe.objective,
        )

    def _decide(self, candidate: Trial, champion: Trial | None, context: RunContext) -> Decision:
        decision = decide(
            candidate.report,
            None if champion is None else champion.report,
            self.config.gate_rules(),
            same_recipe=champion is candidate,
            rng=context.rng(),
        )
        self.tracked.log_dict(decision.as_json(), "gate.json")
        return decision

    def _refit(self, source: TrainingSource, candidate: Trial, context: RunContext) -> Path:
        """The recipe on everything, with the blends and rankers that were chosen; saved."""
        rankers = fit_rankers(
            candidate.training_sets,
            candidate.ranker_decisions,
            until=source.newest,
            context=context,
        )
        bundle = build(
            source.as_of(source.newest, candidate.recipe),
            candidate.recipe,
            context=context,
            placements=candidate.placements,
            rankers=rankers,
        )
        finite = {
            name: estimate.value
            for name, estimate in candidate.report.estimates.items()
            if np.isfinite(estimate.value)
        }
        manifest = msgspec.structs.replace(bundle.manifest, report=finite)
        return save_bundle(
            replace(bundle, manifest=manifest),
            self.workspace.root / STAGING / bundle.model_version,
        )


def refuse_personal_rows(recipe: Recipe) -> None:
    """InvalidConfig where a placement uses a model that stores rows of customers and the shop has
    not allowed that: better refused before hours of training."""
    for name in families_needed(recipe.placements, recipe):
        if family_of(name).stores_user_data and not recipe.customer_rows:
            raise InvalidConfig(
                "recipe.placements",
                name,
                "this model stores rows of customers (without ids, dropped when erased, never in "
                "MLflow); set `recipe.customer_rows: true` to allow that, or take it out of the "
                "blends",
            )


def recover(tracking: Tracking, workspace: Workspace, config: TrainingConfig) -> list[str]:
    """Repairs what a killed run left (its MLflow run, its half-written bundles, a pointer that is
    behind the registry) and describes each repair."""
    repairs = [f"closed the killed run {run_id}" for run_id in tracking.close_stale_runs()]
    shutil.rmtree(workspace.root / STAGING, ignore_errors=True)
    repaired = repair_pointer(tracking, root=workspace.published, keep=config.keep_bundles)
    return repairs if repaired is None else [*repairs, repaired]


def _recipe_of(champion: ModelVersion, context: RunContext) -> Recipe | None:
    try:
        return Recipe.model_validate(champion.recipe)
    except ValidationError as error:
        context.log(
            f"The champion's recipe (version {champion.version}) cannot be fitted by this code: "
            f"{error.errors()[0]['msg']}. The candidate is compared with the baselines alone."
        )
        return None


def _tags(recipe: Recipe) -> Mapping[str, str]:
    return {"recipe_digest": recipe.digest(), "code_revision": code_revision()}


def _described(time_splits: TimeSplits) -> str:
    validations = ", ".join(f"{cut:%Y-%m-%d}" for cut in time_splits.validations) or "none"
    test = f"test {time_splits.test:%Y-%m-%d} to {time_splits.end:%Y-%m-%d %H:%M} UTC"
    return f"validation from {validations}; {test}"
