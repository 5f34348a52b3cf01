"""The nightly run: read, check, split, rehearse, build, evaluate, gate, release.

Safe to be killed at any moment: the champion goes on serving, and the next run starts anew. Every
step before `publish` only adds files beside those that are served.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.errors import BundleError, InvalidConfig
from training.code_revision import code_revision
from training.config import Recipe, TrainingConfig
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, Trial, time_splits_of, try_recipe
from training.lock import FileLock
from training.pipeline.gate import Decision, decide
from training.pipeline.intake import check_shop, read_shop
from training.pipeline.publish import repair_pointer
from training.pipeline.release import (
    STAGING,
    Release,
    Releaser,
    Trials,
    families_with_personal_rows,
    tags_of,
)
from training.pipeline.report import log_changes, log_trial, print_metrics, summary_of
from training.pipeline.smoke_check import rehearse
from training.progress import Steps
from training.run_context import Provenance, RunContext
from training.tracking import ModelVersion, Run, Tracking
from training.workspace import Workspace


@dataclass(frozen=True, slots=True)
class NightlyOutcome:
    """How a run ended: whether the candidate was promoted, and why.

    Numbers of the registry: `version` of the candidate (promoted or challenger), None where it was
    not sound; `refreshed` of the champion's own recipe on fresh data, None where the candidate was
    promoted or that recipe failed its checks.
    """

    promoted: bool
    reasons: tuple[str, ...]
    version: str | None
    refreshed: str | None
    summary: Mapping[str, Any]


def run(
    config: TrainingConfig,
    *,
    console: Console,
    started: datetime,
    data: Path | None = None,
    register_only: bool = False,
) -> NightlyOutcome:
    """One nightly run. Locked where another is under way; ChecksFailed where the data are bad.

    `data` is imported first, as the section `imports` of the configuration says. With
    `register_only` a sound candidate becomes challenger and nothing is promoted.
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
        with tracking.run("nightly", params=params, tags=tags_of(config.recipe)) as tracked:
            night = _Night(config, workspace, steps, tracking, tracked, started)
            return night.run(data, register_only=register_only)


@dataclass(frozen=True, slots=True)
class _Night:
    """One run that holds the lock and has a run in MLflow."""

    config: TrainingConfig
    workspace: Workspace
    steps: Steps
    tracking: Tracking
    tracked: Run
    started: datetime

    def run(self, data: Path | None, *, register_only: bool) -> NightlyOutcome:
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
            recipe, faults = self._rehearsed(source, context.reporting_to(step))
        with steps.step("build") as step:
            context = context.reporting_to(step)
            candidate = try_recipe(source, time_splits, recipe, config.evaluation, context=context)
        with steps.step("evaluate") as step:
            context = context.reporting_to(step)
            champion = self._champion_trial(candidate, source, time_splits, context)
            trials = Trials(source, time_splits, checks, candidate, champion)
            print_metrics(candidate, console=steps.console)
            log_trial(
                self.tracked, candidate, source=source, time_splits=time_splits, checks=checks
            )
            log_changes(self.tracked, candidate, champion)
        with steps.step("gate") as step:
            decision = self._decide(candidate, champion, context)
            step.log("\n".join(decision.reasons))
        releaser = Releaser(config, self.workspace, steps, self.tracking, self.started)
        release = releaser.register_only if register_only else releaser.release
        released = release(trials, decision, self.tracked, context=context)
        return self._outcome(trials, released, faults)

    def _outcome(
        self, trials: Trials, released: Release, faults: tuple[str, ...]
    ) -> NightlyOutcome:
        """The night in words and figures, in MLflow too."""
        reasons = (*faults, *released.notes, *released.decision.reasons)
        version, refreshed = released.version, released.refreshed
        champion = self.tracking.champion()
        promoted = champion is not None and champion.version == version
        summary = {
            "decision": "promoted" if promoted else "refused",
            "reasons": list(reasons),
            "version": version,
            "model_version": champion.model_version if champion and promoted else None,
            "challenger": None if promoted else version,
            "refreshed": refreshed,
            "run_id": self.tracked.run_id,
            **summary_of(
                trials.candidate,
                trials.champion,
                released.decision,
                self.steps.costs,
                source=trials.source,
                time_splits=trials.time_splits,
                checks=trials.checks,
            ),
        }
        self.tracked.log_dict(released.decision.as_json(), "gate.json")
        self.tracked.log_dict(summary, "summary.json")
        return NightlyOutcome(promoted, reasons, version, refreshed, summary)

    def _rehearsed(
        self, source: TrainingSource, context: RunContext
    ) -> tuple[Recipe, tuple[str, ...]]:
        """The configured recipe, or the champion's and the fault where the configured one cannot
        serve; BundleError where there is no other."""
        configured = self.config.recipe
        try:
            rehearse(source, configured, context=context)
        except BundleError as error:
            champion = self.tracking.champion()
            recipe = None if champion is None else _recipe_of(champion, context)
            if recipe is None or recipe.digest() == configured.digest():
                raise
            if families_with_personal_rows(recipe) and not configured.customer_rows:
                raise
            fault = f"The configured recipe was not tried, only the champion's: {error}"
            context.log(fault, level=logging.WARNING)
            return recipe, (fault,)
        return configured, ()

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
            change="none" if champion is candidate else "requested",
            rng=context.rng(),
        )
        self.tracked.log_dict(decision.as_json(), "gate.json")
        return decision


def refuse_personal_rows(recipe: Recipe) -> None:
    """InvalidConfig where a placement uses a model that stores rows of customers and the shop has
    not allowed that: better refused before hours of training."""
    for name in families_with_personal_rows(recipe):
        if not recipe.customer_rows:
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


def _described(time_splits: TimeSplits) -> str:
    validations = ", ".join(f"{cut:%Y-%m-%d}" for cut in time_splits.validations) or "none"
    test = f"test {time_splits.test:%Y-%m-%d} to {time_splits.end:%Y-%m-%d %H:%M} UTC"
    return f"validation from {validations}; {test}"
