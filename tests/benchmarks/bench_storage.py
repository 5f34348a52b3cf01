"""Storing and reading events: durable batches, the newest of a person, the log as a matrix."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from recsys.dataset.training_data import read_training_data
from recsys.events.log import EventLog
from recsys.events.log import rows as log_rows
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.events.weighting import Weighting
from recsys.store.sqlite import SQLiteStore
from tests.benchmarks.bench_models import row, seconds

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
BATCHES, BATCH = 300, 32
AGREED = Consent(personalization=True, analytics=True)


def rows() -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return {**durable_batches(Path(folder)), **log_to_matrix(Path(folder))}


def durable_batches(folder: Path) -> dict[str, dict[str, Any]]:
    """Events per second in synced batches, beside plain inserts of the same rows in SQLite."""
    store = SQLiteStore(folder / "store.sqlite")
    events = made_events(BATCHES * BATCH)
    batches = [events[first : first + BATCH] for first in range(0, len(events), BATCH)]

    def append() -> None:
        for batch in batches:
            store.append(batch, received_at=AS_OF)

    ours = seconds(append)
    spent = []
    for number in range(500):
        started = time.perf_counter()
        store.person(Person(f"u{number % 100}"), limit=100)
        spent.append((time.perf_counter() - started) * 1e6)
    store.close()
    plain = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute("PRAGMA synchronous = FULL")
    plain.execute("CREATE TABLE events (id TEXT PRIMARY KEY, who TEXT, item TEXT, at REAL)")

    def insert() -> None:
        for batch in batches:
            plain.execute("BEGIN")
            plain.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?)",
                [(e.event_id, e.user_id, e.items[0].item_id, 0.0) for e in batch],
            )
            plain.execute("COMMIT")

    theirs = seconds(insert)
    plain.close()
    per_second = len(events) / ours
    return {
        "storage/durable_events_per_second": row(
            per_second, "events/s", "plain sqlite3 inserts", theirs / ours
        ),
        "storage/newest_100_of_a_person_us": row(float(np.median(spent)), "µs", None, None),
    }


def log_to_matrix(folder: Path) -> dict[str, dict[str, Any]]:
    """Reading 200,000 events of the log into training data."""
    log = EventLog(folder / "log")
    log.append(log_rows(made_events(200_000)), part="made")
    spent = seconds(lambda: read_training_data(log, as_of=AS_OF, weighting=Weighting()))
    return {"storage/training_data_rows_per_second": row(200_000 / spent, "rows/s", None, None)}


def made_events(count: int) -> list[Event]:
    rng = np.random.default_rng(3)
    who, what = rng.integers(0, max(100, count // 50), count), rng.integers(0, 5_000, count)
    ago = rng.uniform(0, 90 * 86400, count)
    return [
        Event(
            event_id=f"e{number}",
            event="view_item",
            timestamp=AS_OF - timedelta(seconds=float(ago[number])),
            user_id=f"u{who[number]}",
            items=[EventItem(f"i{what[number]}")],
            consent=AGREED,
        )
        for number in range(count)
    ]
