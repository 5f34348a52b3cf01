"""A store of the first version becomes one of the second in place, and nothing of it is lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec
import pytest

from recsys.events.log import EventLog
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.query.history import StoredEvent
from recsys.query.profile import Profile
from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite import SQLiteStore

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)

VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('store_id', 'c0ffee00'), ('last_seq', 3), ('archived', 1), ('planned', 1),
    ('revision', 1);
CREATE TABLE event_ids (event_id TEXT PRIMARY KEY, received_at REAL NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE waiting (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE interactions (
    person TEXT NOT NULL,
    lane INTEGER NOT NULL,
    time REAL NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    session_id TEXT,
    action TEXT,
    visitor TEXT,
    PRIMARY KEY (person, lane, time, seq, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE identities (
    anonymous_id TEXT NOT NULL, time REAL NOT NULL, user_id TEXT NOT NULL,
    PRIMARY KEY (anonymous_id, time)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_user ON identities (user_id, anonymous_id);
CREATE TABLE profiles (
    person TEXT PRIMARY KEY,
    body BLOB,
    personalization INTEGER, analytics INTEGER, consent_time REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX refusals ON profiles (person) WHERE personalization = 0;
CREATE TABLE items (
    item_id TEXT PRIMARY KEY, body BLOB NOT NULL, revision INTEGER NOT NULL,
    received_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX items_by_revision ON items (revision);
CREATE TABLE answers (number INTEGER PRIMARY KEY, time REAL NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX answers_by_time ON answers (time);
PRAGMA application_id = 1380270931;
PRAGMA user_version = 1;
"""


def seen(id: str) -> Event:
    return Event(
        event_id=id,
        event="view_item",
        timestamp=NOON,
        user_id="u",
        items=[EventItem(item_id=f"item-{id}")],
        consent=YES,
    )


ANSWER = LoggedAnswer("r-1", NOON.timestamp(), "for_you", "champion", "v1", ["a"], ["als"],
                      ["individual"], [1.0], [1.0], person="u:u")  # fmt: skip


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as the first version wrote it."""
    path = tmp_path / "store.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(VERSION_1)
    now = NOON.timestamp()
    for seq, id in enumerate(("one", "two", "three"), start=1):
        connection.execute("INSERT INTO event_ids VALUES (?, ?)", (id, now))
        if seq > 1:
            connection.execute(
                "INSERT INTO waiting VALUES (?, ?)", (seq, msgspec.json.encode(seen(id)))
            )
        connection.execute(
            "INSERT INTO interactions VALUES ('u:u', 0, ?, ?, 0, ?, 'view_item', 's', NULL, 'v')",
            (now, seq, f"item-{id}"),
        )
    connection.execute(
        "INSERT INTO interactions VALUES "
        "('u:u', 2, ?, 4, 0, 'ugly', 'feedback', NULL, 'never_again', NULL)",
        (now + 1,),
    )
    connection.execute(
        "INSERT INTO profiles VALUES ('u:u', ?, 1, 1, ?), ('u:no', NULL, 0, 0, ?)",
        (msgspec.json.encode(Profile(country="NL")), now, now),
    )
    connection.execute("INSERT INTO identities VALUES ('v', ?, 'u')", (now,))
    connection.execute(
        "INSERT INTO answers (time, body) VALUES (?, ?)", (now, msgspec.msgpack.encode(ANSWER))
    )
    connection.close()
    return path


def test_everything_of_an_old_store_is_there_under_the_new_version(
    old: Path, tmp_path: Path
) -> None:
    store = SQLiteStore(old)
    known = store.person(Person("u"))
    now = NOON.timestamp()
    assert list(known.history[:3]) == [
        StoredEvent(f"item-{id}", "view_item", now, "s") for id in ("one", "two", "three")
    ]
    assert known.history[3].action == "never_again"
    assert known.profile.country == "NL"
    assert known.consent == YES
    assert store.denied() == {"u:no"}
    assert store.answers(since=NOON, until=datetime(2027, 1, 1, tzinfo=UTC)) == [ANSWER]
    assert store.append([seen("one"), seen("four")], received_at=NOON) == [False, True]
    assert store.archive(EventLog(tmp_path / "log")) == 3
    assert store.erase(Person("u"), receipt="r", at=NOON).removed.answers == 1
    store.close()


def test_a_migrated_store_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    SQLiteStore(old).close()
    SQLiteStore(tmp_path / "new" / "store.sqlite").close()

    def tables(path: Path) -> dict[str, object]:
        connection = apsw.Connection(str(path))
        names = sorted(connection.execute("SELECT type, name FROM sqlite_schema"))
        rows: dict[str, object] = {
            f"{kind} {name}": set(
                connection.execute(f"SELECT name, type FROM pragma_table_info('{name}')")
            )
            for kind, name in names
        }
        rows["meta"] = sorted(connection.execute("SELECT name FROM meta"))
        rows["version"] = next(connection.execute("PRAGMA user_version"))
        connection.close()
        return rows

    assert tables(old) == tables(tmp_path / "new" / "store.sqlite")


def test_an_old_store_that_two_open_at_once_is_brought_up_to_date_once(old: Path) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            SQLiteStore(old).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_an_old_store_had_stored_is_never_pruned_from_its_ids(old: Path) -> None:
    store = SQLiteStore(old)
    late = datetime(2030, 1, 1, tzinfo=UTC)
    assert store.prune(event_ids_before=late, answers_before=late) == (0, 1)
    assert store.append([seen("two")], received_at=NOON) == [False]
    store.close()
