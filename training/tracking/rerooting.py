"""Artifact locations in MLflow's database follow the workspace when it is moved or copied.

MLflow writes absolute `file://` locations into its SQLite database. A workspace that lies elsewhere
than when it was written would read the files of the old directory and write into them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

LOCATIONS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Every column of MLflow's database that holds the location of files."""


def reroot(database: Path, *, experiment: str, artifacts: Path) -> str | None:
    """Rewrites the locations below the experiment's recorded root to the same ones below
    `artifacts`, in one transaction; gives the root that was recorded, None where it is right.

    Locations elsewhere (another directory, an object store) stay as they are.
    """
    root = artifacts.resolve().as_uri()
    with contextlib.closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as opened:
        recorded = recorded_root(opened, experiment)
        if recorded is None or recorded == root or not recorded.startswith("file:"):
            return None
        opened.execute("BEGIN IMMEDIATE")
        try:
            for table, column in LOCATIONS:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (root, len(recorded) + 1, recorded, len(recorded) + 1, f"{recorded}/"),
                )
            opened.execute("COMMIT")
        except BaseException:
            opened.execute("ROLLBACK")
            raise
    return recorded


def recorded_root(connection: sqlite3.Connection, experiment: str) -> str | None:
    """Where the database says that the experiment's files lie; None without that experiment."""
    row = connection.execute(
        "SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)
    ).fetchone()
    return None if row is None or row[0] is None else str(row[0])
