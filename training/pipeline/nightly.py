"""The nightly run: read → check → split → build → evaluate → gate → refit → register → publish.

Safe to be killed at any moment: the champion goes on serving, and the next run starts anew. Every
step before `publish` only adds things beside those that are served.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pydantic import ValidationError
from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle, save_bundle
from recsys.errors import InvalidConfig, RecsysError
from recsys.events.checks import Check, Status, check_log, worst
from recsys.events.log import EventLog
from recsys.models.registry import MODELS
from recsys.store.sqlite import SQLiteStore
from training.code_revision import code_revision
from training.config import Recipe, TrainingConfig
from training.datasets import DataFile, import_files
from training.datasets.sources import Contents
from training.fitting.build import Provenance, build, families_needed
from training.fitting.source import Source, read_source
from training.fitting.trial import TimeSplits, Trial, fit_rankers, time_splits_of, try_recipe
from training.lock import FileLock
from training.pipeline.gate import Decision, decide
from training.pipeline.publish import promote, settle, stage
from training.pipeline.report import log_changes, log_trial, print_metrics, summary_of
from training.pipeline.smoke_check import smoke_check
from training.progress import Bar, Steps
from training.tracking import ModelVersion, Tracking
from training.workspace import Workspace

STAGING = "staging"
"""Where a bundle lies between refit and publish, below the workspace."""


class ChecksFailed(RecsysError):
    """The data checks say FAIL: nothing is trained on such data."""


class ImportRefused(RecsysError):
    """Too much of the file was rejected to train on the rest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `version` is that of the registry; None where the gate said no."""

    promoted: bool
    reasons: tuple[str, ...]
    version: str | None
    summary: Mapping[str, Any]


def run(
    config: TrainingConfig, *, console: Console, started: datetime, data: Path | None = None
) -> Outcome:
    """One nightly run. Locked where another is under way; ChecksFailed where the data are bad.

    `data` is imported first, as the section `imports` of the configuration says.
    """
    workspace = Workspace(config.workspace)
    workspace.create()
    refuse_personal_rows(config.recipe)
    steps = Steps(console, status=workspace.nightly_status)
    recipe = config.recipe
    # BLAS over a customer's few items gains nothing from threads, which wait for each other.
    with FileLock(workspace.nightly_lock).hold(), threadpool_limits(1, "blas"):
        tracking = Tracking.of(workspace)
        for mended in recover(tracking, workspace, config):
            steps.say(mended)
        champion = tracking.champion()
        with tracking.run("nightly", params=_params(config), tags=_tags(recipe)) as tracked:
            with steps.step("read") as bar:
                source = _read(workspace, config, data, now=started, bar=bar)
                provenance = _provenance(source, tracked.run_id, started)
            with steps.step("check") as bar:
                checks = _check(source, config, now=started, bar=bar)
            with steps.step("split"):
                time_splits = time_splits_of(source, config.split)
                steps.say(_in_words(time_splits))
            with steps.step("build") as bar:
                candidate = try_recipe(
                    source,
                    time_splits,
                    recipe,
                    config.evaluation,
                    seed=recipe.seed,
                    provenance=provenance,
                    tell=bar.tell,
                    progress=bar.progress,
                )
            with steps.step("evaluate") as bar:
                champion_trial = _champion_trial(
                    champion, candidate, source, time_splits, config, provenance, bar, steps
                )
                print_metrics(candidate, console=console)
                log_trial(tracked, candidate, source=source, time_splits=time_splits, checks=checks)
                if champion_trial is not None and champion_trial is not candidate:
                    log_changes(tracked, candidate, champion_trial)
            with steps.step("gate"):
                decision = _decide(candidate, champion_trial, config)
                for reason in decision.reasons:
                    steps.say(reason)
                tracked.log_dict(decision.as_json(), "gate.json")
            version = None
            if decision.promote:
                with steps.step("refit") as bar:
                    bundle = _refit(source, candidate, provenance, tell=bar.tell)
                    directory = _save(bundle, workspace)
                with steps.step("register"):
                    # Rows of customers are not in MLflow: what is registered can be promoted only
                    # from the published directory.
                    stage(directory, root=workspace.published)
                    tracked.log_bundle(directory)
                    version = tracking.register(tracked, tags=_tags(recipe))
                    tracking.set_alias("challenger", version)
                with steps.step("publish"):
                    promote(
                        tracking,
                        version,
                        root=workspace.published,
                        keep=config.keep_bundles,
                        check=smoke_check,
                    )
                    shutil.rmtree(directory, ignore_errors=True)
            summary = summary_of(
                candidate,
                champion_trial,
                decision,
                steps.costs,
                source=source,
                time_splits=time_splits,
                checks=checks,
                version=version,
                model_version=provenance.model_version,
                run_id=tracked.run_id,
            )
            tracked.log_dict(summary, "summary.json")
    return Outcome(decision.promote, decision.reasons, version, summary)


def refuse_personal_rows(recipe: Recipe) -> None:
    """InvalidConfig where a placement uses a model that stores rows of customers and the shop has
    not said yes to that: it is better to say so before hours of training."""
    for name in families_needed(recipe.placements, recipe):
        if MODELS[name].model.stores_user_data and not recipe.customer_rows:
            raise InvalidConfig(
                "recipe.placements",
                name,
                "this model stores rows of customers (without ids, dropped when erased, never in "
                "MLflow); set `recipe.customer_rows: true` to allow that, or take it out of the "
                "blends",
            )


def recover(tracking: Tracking, workspace: Workspace, config: TrainingConfig) -> list[str]:
    """Mends what a killed run left, and says what: its MLflow run, its half-written bundles, and a
    pointer that is behind the registry."""
    told = [f"closed the killed run {run_id}" for run_id in tracking.close_stale_runs()]
    shutil.rmtree(workspace.root / STAGING, ignore_errors=True)
    settled = settle(
        tracking, root=workspace.published, keep=config.keep_bundles, check=smoke_check
    )
    return told if settled is None else [*told, settled]


def _read(
    workspace: Workspace, config: TrainingConfig, data: Path | None, *, now: datetime, bar: Bar
) -> Source:
    store = SQLiteStore(workspace.store)
    try:
        if data is not None:
            imported = import_files(
                data_files(data),
                config.imports,
                workspace=workspace,
                store=store,
                at=now,
                watch=lambda _name, done, total: bar.progress(done, total),
            )
            bar.say(str(imported))
            if not imported.succeeded(max_rejected=config.imports.max_rejected):
                raise ImportRefused(
                    f"{imported.rejected_share:.1%} of the rows of {data} were rejected (at most "
                    f"{config.imports.max_rejected:.1%} may be); see {workspace.rejected}."
                )
        source = read_source(store, EventLog(workspace.event_log), now=now)
        if source.erased:
            bar.say(f"removed {source.erased:,} rows of erased persons from the event log")
        ids, answers = store.prune(
            event_ids_before=now - timedelta(days=config.retention.event_ids_days),
            answers_before=now - timedelta(days=config.retention.answers_days),
        )
        if ids or answers:
            bar.say(f"pruned {ids:,} old event ids and {answers:,} old answers")
        return source
    finally:
        store.close()


def data_files(path: Path) -> list[DataFile]:
    """The file itself; of a directory all files in it, catalogue and profiles before events."""
    if not path.is_dir():
        return [DataFile(path)]
    kinds: Mapping[str, Contents] = {"items": "items", "profiles": "profiles", "events": "events"}
    return [
        DataFile(file, contents)
        for prefix, contents in kinds.items()
        for file in sorted(path.glob(f"{prefix}*"))
    ]


def _check(source: Source, config: TrainingConfig, *, now: datetime, bar: Bar) -> list[Check]:
    checks = check_log(
        source.log,
        catalog_ids=[item.item_id for item in source.items],
        as_of=now,
        since=source.newest - timedelta(days=config.recipe.window_days),
        rules=config.checks,
    )
    for check in checks:
        bar.say(f"{check.status.name} {check.name}: {check.message}")
        for example in check.examples if check.status > Status.PASS else ():
            bar.say(f"  e.g. {example}")
    if worst(checks) == Status.FAIL:
        failed = ", ".join(check.name for check in checks if check.status == Status.FAIL)
        raise ChecksFailed(f"Data checks failed: {failed}. Mend the data, or set 'checks'.")
    return checks


def _champion_trial(
    champion: ModelVersion | None,
    candidate: Trial,
    source: Source,
    time_splits: TimeSplits,
    config: TrainingConfig,
    provenance: Provenance,
    bar: Bar,
    steps: Steps,
) -> Trial | None:
    """The champion's recipe at the same cut: the candidate's own trial where it is the same."""
    if champion is None:
        return None
    try:
        recipe = Recipe.model_validate(champion.recipe)
    except ValidationError as error:
        steps.say(
            f"The champion's recipe (version {champion.version}) cannot be fitted by this code: "
            f"{error.errors()[0]['msg']}. The candidate is compared with the baselines alone."
        )
        return None
    if recipe.digest() == candidate.recipe.digest():
        return candidate
    return try_recipe(
        source,
        time_splits,
        recipe,
        config.evaluation,
        seed=config.recipe.seed,
        provenance=provenance,
        objective=config.recipe.objective,
        tell=bar.tell,
        progress=bar.progress,
    )


def _decide(candidate: Trial, champion_trial: Trial | None, config: TrainingConfig) -> Decision:
    return decide(
        candidate.report,
        None if champion_trial is None else champion_trial.report,
        config.gate_rules(),
        same_recipe=champion_trial is candidate,
        rng=np.random.default_rng(config.recipe.seed),
    )


def _refit(
    source: Source, candidate: Trial, provenance: Provenance, *, tell: Callable[[str], None]
) -> Bundle:
    """The recipe on everything, with the blends that were chosen, and a look at its answers."""
    rankers = fit_rankers(
        candidate.training_sets, candidate.ranker_decisions, until=source.newest, tell=tell
    )
    bundle = build(
        source.as_of(source.newest, candidate.recipe),
        candidate.recipe,
        provenance=provenance,
        placements=candidate.placements,
        rankers=rankers,
        progress=tell,
    )
    report = {name: estimate.value for name, estimate in candidate.report.estimates.items()}
    finite = {name: value for name, value in report.items() if np.isfinite(value)}
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, report=finite))


def _save(bundle: Bundle, workspace: Workspace) -> Path:
    directory = save_bundle(bundle, workspace.root / STAGING / bundle.model_version)
    smoke_check(load_bundle(directory))
    return directory


def _provenance(source: Source, run_id: str, started: datetime) -> Provenance:
    return Provenance(
        model_version=f"{started:%Y%m%d-%H%M%S}-{run_id[:6]}",
        code_revision=code_revision(),
        data_fingerprint=source.fingerprint,
        synthetic=source.synthetic,
    )


def _params(config: TrainingConfig) -> Mapping[str, object]:
    return config.model_dump(mode="json", exclude={"workspace"})


def _tags(recipe: Recipe) -> Mapping[str, str]:
    return {"recipe_digest": recipe.digest(), "code_revision": code_revision()}


def _in_words(time_splits: TimeSplits) -> str:
    validations = ", ".join(f"{cut:%Y-%m-%d}" for cut in time_splits.validations) or "none"
    test = f"test {time_splits.test:%Y-%m-%d} to {time_splits.end:%Y-%m-%d %H:%M} UTC"
    return f"validation from {validations}; {test}"
