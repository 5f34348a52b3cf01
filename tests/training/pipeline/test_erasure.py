"""What the service began, the night finishes: erased persons leave the log before it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.events.log import SCHEMA, EventLog, rows
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.store.sqlite import SQLiteStore
from training.config import Recipe
from training.fitting.source import read_source

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def bought(user: str, *items: str, day: int = 0) -> Event:
    return Event(
        event_id=f"{user}-{day}-{'-'.join(items)}",
        event="purchase",
        timestamp=NOON + timedelta(days=day),
        user_id=user,
        items=[EventItem(item_id=item) for item in items],
        consent=Consent(personalization=True),
    )


def test_an_erased_person_is_neither_in_the_log_nor_in_what_is_learnt(tmp_path: Path) -> None:
    store, log = SQLiteStore(tmp_path / "store.sqlite"), EventLog(tmp_path / "log")
    store.append([bought("gone", "a", "b"), bought("here", "a", "c")], received_at=NOON)
    store.archive(log)
    store.append([bought("gone", "d", day=1), bought("here", "d", day=1)], received_at=NOON)
    store.erase(Person("gone"), receipt="x", at=NOON + timedelta(days=2))

    source = read_source(store, log, now=NOON + timedelta(days=3))
    assert source.erased == 2
    learnt = source.as_of(source.newest, Recipe())
    assert learnt.users.ids() == ["u:here"]
    assert not any(b"gone" in path.read_bytes() for path in log.files())
    assert read_source(store, log, now=NOON + timedelta(days=3)).erased == 0
    store.close()


@pytest.mark.parametrize("old_first", [True, False])
def test_a_log_with_files_of_an_earlier_version_is_read_and_erased_as_any(
    tmp_path: Path, old_first: bool
) -> None:
    log = EventLog(tmp_path / "log")
    log.append(rows([bought("gone", "a"), bought("here", "b")]), part="1" if old_first else "2")
    (path,) = log.files()
    old = pq.read_table(path, schema=SCHEMA).drop_columns(["brand", "category", "days"])
    pq.write_table(old, path)
    log.append(rows([bought("here", "c")]), part="2" if old_first else "1")
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.erase(Person("gone"), receipt="x", at=NOON + timedelta(days=1))
    source = read_source(store, log, now=NOON + timedelta(days=1))
    assert source.erased == 1
    learnt = source.as_of(source.newest, Recipe())
    assert learnt.users.ids() == ["u:here"]
    assert learnt.items.ids() == ["b", "c"]
    rows_left, rest = log.rows_of([Person("here")], limit=9)
    assert sorted(row["item_id"] for row in rows_left) == ["b", "c"]
    assert rest is None
    store.close()
