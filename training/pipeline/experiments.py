"""Experiments: two versions served side by side, and what came of it.

`start` and `stop` move the pointer that the service follows; a record of each experiment lies in
the workspace, so that it can be reported on when it is over.

experiments/<id>/record.json    shares, versions, when it began and ended
experiments/<id>/report.json    the newest report; report.png its figure
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from recsys.atomic_files import write_atomically
from recsys.bundle.publication import (
    CHALLENGER,
    CHAMPION,
    Experiment,
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    write_publication,
)
from recsys.bundle.save_load import load_bundle
from recsys.errors import InvalidInput
from recsys.events.log import EventLog
from recsys.experiments.ab_test import ExperimentReport, ExperimentRules, experiment_report
from recsys.experiments.attribution import AttributionRules, read_attributed
from recsys.experiments.result import result_of
from recsys.store.protocol import Store
from training.pipeline.plots import variants_by_measure
from training.pipeline.publish import stage, whole_bundle
from training.pipeline.smoke_check import smoke_check
from training.tracking import Tracking
from training.workspace import Workspace

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment was: variant → share (0 to 1, the control first) and the version that it
    began with. `ended_at` is None while it runs."""

    id: str
    started_at: datetime
    shares: dict[str, float]
    versions: dict[str, str]
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExperimentOutcome:
    """A report and where it was written: its files and the numbers of the registered versions."""

    record: Record
    report: ExperimentReport
    folder: Path
    written_to: tuple[str, ...]


def start(
    workspace: Workspace,
    tracking: Tracking | None,
    shares: Mapping[str, float],
    *,
    id: str,
    at: datetime,
    aa: bool = False,
) -> Record:
    """Serves these variants side by side; every bundle is verified before anything moves.

    Names: `champion` is the version that is served, `challenger` the registry's alias, a number a
    registered version, anything else the model version of a published bundle. Shares are in
    proportion. InvalidInput where one is running already, or where there is nothing to compare: two
    variants of one version are refused unless `aa` asks for such a test of the split itself.
    """
    _check(workspace, shares, id)
    root = workspace.published
    served = read_publication(root)
    if served is None:
        raise InvalidInput("--variant", CHAMPION, "nothing is served yet; run recsys nightly first")
    versions = {name: _staged(name, served, tracking, root=root) for name in shares}
    if not aa:
        _check_distinct(versions)
    total = sum(shares.values())
    record = Record(
        id=id,
        started_at=at,
        shares={name: share / total for name, share in shares.items()},
        versions=versions,
    )
    _write(workspace, record)
    variants = [
        Variant(name=name, model_version=versions[name], share=share)
        for name, share in record.shares.items()
    ]
    running = Experiment(id=id, started_at=at)
    write_publication(
        root, Publication(variants=variants, previous=served.previous, experiment=running)
    )
    return record


def stop(workspace: Workspace, *, at: datetime) -> Record:
    """Serves the champion to everybody again; InvalidInput where no experiment is running."""
    publication = read_publication(workspace.published)
    if publication is None or publication.experiment is None:
        raise InvalidInput("experiment", None, "none is running; see recsys experiment status")
    everybody = Variant(name=CHAMPION, model_version=publication.champion.model_version)
    write_publication(
        workspace.published, Publication(variants=[everybody], previous=publication.previous)
    )
    record = read_record(workspace, publication.experiment.id)
    ended = msgspec.structs.replace(record, ended_at=at)
    _write(workspace, ended)
    return ended


def report(
    workspace: Workspace,
    store: Store,
    tracking: Tracking | None,
    *,
    id: str | None,
    now: datetime,
    rules: ExperimentRules | None = None,
    attribution: AttributionRules | None = None,
) -> ExperimentOutcome:
    """Evaluates an experiment (None: the newest) up to now or to its end, and writes the result to
    its folder and to every registered version that served in it."""
    record = read_record(workspace, id or newest(workspace))
    until = record.ended_at or now
    attributed = read_attributed(
        store,
        EventLog(workspace.event_log),
        since=record.started_at,
        until=until,
        rules=attribution,
    )
    evaluated = experiment_report(
        attributed, record.shares, since=record.started_at, until=until, rules=rules
    )
    folder = _folder(workspace, record.id)
    content = msgspec.to_builtins(result_of(evaluated, experiment=record.id))
    figure = variants_by_measure(content)
    (folder / "report.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(content), indent=2)
    )
    figure.savefig(folder / "report.png")
    written = [] if tracking is None else _write_back(tracking, record, evaluated, content)
    return ExperimentOutcome(record, evaluated, folder, tuple(written))


def newest(workspace: Workspace) -> str:
    """The id of the experiment that began last; InvalidInput where there was none."""
    known = records(workspace)
    if not known:
        raise InvalidInput(
            "experiment", None, "none was ever started; begin with recsys experiment start"
        )
    return known[-1].id


def records(workspace: Workspace) -> list[Record]:
    """Every experiment of the workspace, the newest last."""
    files = workspace.experiments.glob("*/record.json")
    read = [msgspec.json.decode(path.read_bytes(), type=Record) for path in files]
    return sorted(read, key=lambda record: record.started_at)


def read_record(workspace: Workspace, id: str) -> Record:
    """The record of an experiment; InvalidInput where there is none of that id."""
    for record in records(workspace):
        if record.id == id:
            return record
    known = ", ".join(record.id for record in records(workspace))
    raise InvalidInput("experiment", id, f"there is none of that id; there are {known or 'none'}")


def _check(workspace: Workspace, shares: Mapping[str, float], id: str) -> None:
    if not _ID.fullmatch(id):
        raise InvalidInput("--id", id, "use lower-case letters, digits, dots and dashes, up to 64")
    if any(record.id == id for record in records(workspace)):
        raise InvalidInput("--id", id, "there was an experiment of that id; use another")
    if CHAMPION not in shares or len(shares) < 2:
        raise InvalidInput(
            "--variant",
            ", ".join(shares),
            "name the champion and at least one challenger: "
            "--variant champion=90 --variant challenger=10",
        )
    bad = [name for name, share in shares.items() if not (share > 0 and math.isfinite(share))]
    if bad:
        raise InvalidInput("--variant", bad[0], "a share is above 0")
    publication = read_publication(workspace.published)
    if publication is not None and publication.experiment is not None:
        raise InvalidInput(
            "experiment",
            publication.experiment.id,
            "it is running; end it with recsys experiment stop",
        )


def _check_distinct(versions: Mapping[str, str]) -> None:
    by_version: dict[str, str] = {}
    for name, version in versions.items():
        if version in by_version:
            raise InvalidInput(
                "--variant",
                name,
                f"it is version {version}, as {by_version[version]} is; name another version, or "
                "use --aa to test a version against itself",
            )
        by_version[version] = name


def _staged(
    name: str,
    served: Publication,
    tracking: Tracking | None,
    *,
    root: Path,
) -> str:
    """The model version behind a name, its bundle verified and beside those that serve."""
    if name == CHAMPION:
        return served.champion.model_version
    if bundle_directory(root, name).is_dir():
        smoke_check(load_bundle(bundle_directory(root, name)))
        return name
    if tracking is None:
        raise InvalidInput("--variant", name, "nothing of that name is published or registered")
    number = name
    if name == CHALLENGER:
        challenger = tracking.challenger()
        if challenger is None:
            raise InvalidInput(
                "--variant",
                name,
                "no version has the alias challenger; name the number of one (recsys versions)",
            )
        number = challenger.version
    return stage(whole_bundle(tracking, number, root=root), root=root)


def _write_back(
    tracking: Tracking, record: Record, evaluated: ExperimentReport, content: Mapping[str, Any]
) -> list[str]:
    """Writes the result to the registered versions of each variant; gives their numbers."""
    by_name = {known.model_version: known.version for known in tracking.versions()}
    written = []
    for variant in evaluated.variants:
        served = {*variant.versions, record.versions[variant.name]}
        metrics: dict[str, float] = {}
        for measure, ratio in variant.measures.items():
            low, high = ratio.interval(confidence=evaluated.rules.confidence)
            metrics |= {measure: ratio.value, f"{measure}_low": low, f"{measure}_high": high}
        for comparison in evaluated.comparisons:
            if comparison.challenger == variant.name:
                metrics[f"lift_{comparison.measure}"] = comparison.lift[0]
        for version in sorted(by_name[name] for name in served if name in by_name):
            tracking.log_online(
                version,
                experiment=record.id,
                variant=variant.name,
                metrics={**metrics, "persons": float(variant.persons)},
                verdict=" ".join(evaluated.verdict),
                report=content,
                figure=variants_by_measure(content),
            )
            written.append(version)
    return written


def _folder(workspace: Workspace, id: str) -> Path:
    folder = workspace.experiments / id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(workspace: Workspace, record: Record) -> None:
    path = _folder(workspace, record.id) / "record.json"
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
