"""What becomes of a night's trials: which recipes are refitted on everything and served.

Every sound candidate is registered and its bundle lies beside the champion's, so that it can be put
into an experiment; it serves everybody where the gate promotes it. Where it does not, the
champion's own recipe is refitted on the fresh data.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from recsys.bundle.publication import CHALLENGER
from recsys.bundle.save_load import save_bundle
from recsys.errors import BundleError
from recsys.events.checks import Check as DataCheck
from recsys.models.registry import family_of
from training.code_revision import code_revision
from training.config import Recipe, TrainingConfig
from training.fitting.build import build, families_needed
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, Trial, fit_rankers
from training.pipeline.gate import Decision, decide
from training.pipeline.publish import make_champion, prune, stage
from training.pipeline.report import log_trial
from training.progress import Steps
from training.run_context import RunContext
from training.tracking import Run, Tracking
from training.workspace import Workspace

STAGING: Final = "staging"
"""Where a new bundle is written before it is copied beside the published ones; below the
workspace."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What a night has measured, and on which data. `champion` is `candidate` where the recipe is
    the same, None where there is no champion or its recipe cannot be fitted by this code."""

    source: TrainingSource
    time_splits: TimeSplits
    checks: Sequence[DataCheck]
    candidate: Trial
    champion: Trial | None

    @property
    def other_champion(self) -> Trial | None:
        """The champion's trial where its recipe is another than the candidate's."""
        return None if self.champion is self.candidate else self.champion


@dataclass(frozen=True, slots=True)
class Release:
    """What was registered, by its number in the registry: the candidate (None where it is not
    sound), and the refreshed champion (None where nothing was refreshed; `notes` say why)."""

    decision: Decision
    version: str | None = None
    refreshed: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Releaser:
    """Refits, registers and serves, within a run that holds the workspace's lock."""

    config: TrainingConfig
    workspace: Workspace
    steps: Steps
    tracking: Tracking
    started: datetime

    def release(
        self, trials: Trials, decision: Decision, run: Run, *, context: RunContext
    ) -> Release:
        """Serves the candidate, or the champion's recipe on fresh data where the gate refused it or
        its bundle cannot serve. BundleError where there is no other recipe to serve."""
        other = trials.other_champion
        released = Release(decision)
        if other is not None and not decision.promote:
            released = self._refresh(released, other, trials, run, context)
        if decision.sound:
            try:
                version = self._register(run, trials.candidate, trials.source, context=context)
                released = replace(released, version=version)
            except BundleError as error:
                if other is None:
                    raise
                released = replace(released, decision=decision.refused(str(error)))
                if decision.promote:
                    released = self._refresh(released, other, trials, run, context)
        if released.decision.promote and released.version is not None:
            self._serve(released.version)
        return released

    def register_only(
        self, trials: Trials, decision: Decision, run: Run, *, context: RunContext
    ) -> Release:
        """Registers a sound candidate as challenger and changes nothing that is served."""
        if not decision.sound:
            return Release(decision)
        version = self._register(run, trials.candidate, trials.source, context=context)
        return Release(decision, version, notes=("Registered only: nothing was promoted.",))

    def _refresh(
        self, released: Release, champion: Trial, trials: Trials, run: Run, context: RunContext
    ) -> Release:
        """The champion's recipe refitted on everything and served, in a run of its own, unless it
        fell below a baseline or stores rows of customers that the shop no longer allows."""
        rows = families_with_personal_rows(champion.recipe)
        if rows and not self.config.recipe.customer_rows:
            note = f"The champion's recipe is not refitted: {rows[0]} stores rows of customers."
            return replace(released, notes=(note,))
        rules = self.config.gate_rules()
        baseline_check = decide(
            champion.report, champion.report, rules, change="none", rng=context.rng()
        )
        if not baseline_check.promote:
            note = f"The champion's recipe is not refitted: {baseline_check.reasons[0]}"
            return replace(released, notes=(note,))
        params = {"recipe": champion.recipe.model_dump(mode="json")}
        tags = tags_of(champion.recipe)
        with self.tracking.run("champion", params=params, tags=tags, parent=run) as child:
            log_trial(
                child,
                champion,
                source=trials.source,
                time_splits=trials.time_splits,
                checks=trials.checks,
            )
            child.log_dict(baseline_check.as_json(), "gate.json")
            version = self._register(child, champion, trials.source, context=context, champion=True)
            self._serve(version)
        note = f"The champion's recipe was refitted on the fresh data: version {version} serves."
        return replace(released, refreshed=version, notes=(note,))

    def _register(
        self,
        run: Run,
        trial: Trial,
        source: TrainingSource,
        *,
        context: RunContext,
        champion: bool = False,
    ) -> str:
        """Refits a recipe on everything and registers it; gives its number in the registry.

        The copy that may serve is verified and asked once, by `stage`, before anything names it.
        """
        suffix = "_champion" if champion else ""
        root = self.workspace.published
        provenance = replace(
            context.provenance, model_version=f"{self.started:%Y%m%d-%H%M%S}-{run.run_id[:6]}"
        )
        with self.steps.step(f"refit{suffix}") as step:
            of_run = replace(context.reporting_to(step), provenance=provenance)
            directory = refit(source, trial, root=self.workspace.root / STAGING, context=of_run)
        with self.steps.step(f"smoke{suffix}"):
            stage(directory, root=root)
        with self.steps.step(f"register{suffix}"):
            # MLflow gets no rows of customers: a version with such models can be promoted only
            # from the published directory.
            run.log_bundle(directory)
            shutil.rmtree(directory, ignore_errors=True)
            version = self.tracking.register(run, tags=tags_of(trial.recipe))
            if not champion:
                self.tracking.set_alias(CHALLENGER, version)
                prune(root, keep=self.config.keep_bundles)
        return version

    def _serve(self, version: str) -> None:
        with self.steps.step("publish"):
            make_champion(
                self.tracking,
                version,
                root=self.workspace.published,
                keep=self.config.keep_bundles,
            )


def refit(source: TrainingSource, trial: Trial, *, root: Path, context: RunContext) -> Path:
    """The trial's recipe on everything, with the blends and rankers that it chose, saved below
    `root` under the context's model version."""
    rankers = fit_rankers(
        trial.training_sets, trial.ranker_decisions, until=source.newest, context=context
    )
    bundle = build(
        source.as_of(source.newest, trial.recipe),
        trial.recipe,
        context=context,
        placements=trial.placements,
        rankers=rankers,
    )
    finite = {
        name: estimate.value
        for name, estimate in trial.report.estimates.items()
        if np.isfinite(estimate.value)
    }
    manifest = msgspec.structs.replace(bundle.manifest, report=finite)
    return save_bundle(replace(bundle, manifest=manifest), root / bundle.model_version)


def families_with_personal_rows(recipe: Recipe) -> list[str]:
    """The models that its placements use and that store rows of customers."""
    needed = families_needed(recipe.placements, recipe)
    return [name for name in needed if family_of(name).stores_user_data]


def tags_of(recipe: Recipe) -> Mapping[str, str]:
    """The tags of a recipe's runs and versions."""
    return {"recipe_digest": recipe.digest(), "code_revision": code_revision()}
