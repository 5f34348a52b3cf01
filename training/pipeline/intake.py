"""The first steps of a night: import new files, read the event log, check the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from recsys.errors import RecsysError
from recsys.events.checks import Check, Status, check_log, worst
from recsys.events.log import EventLog
from recsys.store.sqlite import SQLiteStore
from training.config import TrainingConfig
from training.datasets import DataFile, import_files
from training.datasets.sources import Contents
from training.fitting.source import TrainingSource, read_source
from training.run_context import Reporter
from training.workspace import Workspace

LEVELS: Final = {
    Status.PASS: logging.INFO,
    Status.WARN: logging.WARNING,
    Status.FAIL: logging.ERROR,
}
"""The level of `logging` at which a data check is reported."""


class ChecksFailed(RecsysError):
    """The data checks say FAIL: nothing is trained on such data."""


class ImportRefused(RecsysError):
    """Too many rows of the file were rejected to train on the rest."""


def read_shop(
    workspace: Workspace,
    config: TrainingConfig,
    data: Path | None,
    *,
    now: datetime,
    reporter: Reporter,
) -> TrainingSource:
    """Imports `data` where given, archives the store into the event log, and reads it.

    Removes what the retention rules no longer keep. ImportRefused where too many rows were
    rejected; InsufficientData where there is no event.
    """
    store = SQLiteStore(workspace.store)
    try:
        if data is not None:
            _import(data, store, workspace, config, now=now, reporter=reporter)
        source = read_source(store, EventLog(workspace.event_log), now=now)
        if source.erased:
            reporter.log(f"removed {source.erased:,} rows of erased persons from the event log")
        ids, answers = store.prune(
            event_ids_before=now - timedelta(days=config.retention.event_ids_days),
            answers_before=now - timedelta(days=config.retention.answers_days),
        )
        if ids or answers:
            reporter.log(f"pruned {ids:,} old event ids and {answers:,} old answers")
        return source
    finally:
        store.close()


def check_shop(
    source: TrainingSource, config: TrainingConfig, *, now: datetime, reporter: Reporter
) -> list[Check]:
    """The data checks over the recipe's window, each reported; ChecksFailed where one fails."""
    checks = check_log(
        source.log,
        catalog_ids=[item.item_id for item in source.items],
        as_of=now,
        since=source.newest - timedelta(days=config.recipe.window_days),
        rules=config.checks,
    )
    for check in checks:
        level = LEVELS[check.status]
        reporter.log(f"{check.status.name} {check.name}: {check.message}", level=level)
        for example in check.examples if check.status > Status.PASS else ():
            reporter.log(f"  e.g. {example}", level=level)
    if worst(checks) == Status.FAIL:
        failed = ", ".join(check.name for check in checks if check.status == Status.FAIL)
        raise ChecksFailed(f"Data checks failed: {failed}. Mend the data, or set 'checks'.")
    return checks


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


def _import(
    data: Path,
    store: SQLiteStore,
    workspace: Workspace,
    config: TrainingConfig,
    *,
    now: datetime,
    reporter: Reporter,
) -> None:
    imported = import_files(
        data_files(data),
        config.imports,
        workspace=workspace,
        store=store,
        at=now,
        watch=lambda _name, done, total: reporter.count(done, total),
    )
    reporter.log(str(imported))
    if not imported.succeeded(max_rejected=config.imports.max_rejected):
        raise ImportRefused(
            f"{imported.rejected_share:.1%} of the rows of {data} were rejected (at most "
            f"{config.imports.max_rejected:.1%} may be); see {workspace.rejected}."
        )
