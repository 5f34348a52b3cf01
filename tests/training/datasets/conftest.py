"""An empty workspace, its store, and the import into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recsys.store.sqlite import SQLiteStore
from training.datasets import DataFile, ImportOptions, ImportSummary, import_files
from training.workspace import Workspace

NOW = datetime(2026, 11, 22, tzinfo=UTC)

BringIn = Callable[..., ImportSummary]
LogRows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").create()


@pytest.fixture
def store(workspace: Workspace) -> Iterator[SQLiteStore]:
    store = SQLiteStore(workspace.store)
    yield store
    store.close()


@pytest.fixture
def bring_in(workspace: Workspace, store: SQLiteStore) -> BringIn:
    """Imports one file: `bring_in(path, contents="events", consent="assumed")`."""

    def bring(path: Path, contents: str = "unknown", **options: object) -> ImportSummary:
        return import_files(
            [DataFile(path, contents)],  # type: ignore[arg-type]
            ImportOptions.model_validate(options),
            workspace=workspace,
            store=store,
            at=NOW,
        )

    return bring


@pytest.fixture
def log_rows(workspace: Workspace) -> LogRows:
    """Columns of the event log, ordered by all of them: `log_rows("event_id, user_id")`."""

    def rows(columns: str) -> list[tuple[Any, ...]]:
        files = f"read_parquet('{workspace.event_log}/*/*.parquet', hive_partitioning = false)"
        with duckdb.connect() as connection:
            return connection.sql(f"SELECT {columns} FROM {files} ORDER BY ALL").fetchall()

    return rows
