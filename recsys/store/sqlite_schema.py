"""The SQLite file of the event store: its tables, how it is opened, what its errors mean."""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import apsw
import msgspec

from recsys.errors import StoreError, StoreUnavailable

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x52454353  # "RECS"

SAFE_SQLITE: Final = 3_051_003
"""Older libraries may corrupt a WAL that two connections write or checkpoint at once."""

PAUSE: Final = 0.001  # seconds

TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES
    ('store_id', lower(hex(randomblob(4)))),
    ('last_seq', 0),       -- of the newest event that was ever stored
    ('archived', 0),       -- every event up to this seq is in the event log
    ('planned', 0),        -- last seq of the part that is being archived, else = archived
    ('revision', 0),       -- of the catalogue
    ('forgotten', 0);      -- counts changes of who is erased or refuses

-- What makes `append` idempotent; stays when the event itself has gone to the log, until it is
-- pruned. An id that must never be pruned has a time that never comes (LASTING).
CREATE TABLE event_ids (event_id TEXT PRIMARY KEY, received_at REAL NOT NULL)
    STRICT, WITHOUT ROWID;

-- Events that are not in the log yet.
CREATE TABLE waiting (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;

-- A person's history lies together on disk, oldest first, in lanes: 0 what was done, 1 lists that
-- were merely seen (a page of forty items would push all else out of the newest rows), 2 what was
-- said of items, brands and categories (a "no" must not be pushed out by what is done later),
-- 3 the shop's own events. An account's history lies under `account:<id>`, with members.
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
    visitor TEXT,          -- anonymous_id of an event that named no user
    name TEXT,             -- of a custom event
    brand TEXT, category TEXT, days REAL,  -- what feedback was about, and for how long
    member TEXT,           -- in an account's history: the person who did it
    PRIMARY KEY (person, lane, time, seq, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX interactions_by_member ON interactions (member) WHERE member IS NOT NULL;

CREATE TABLE identities (
    anonymous_id TEXT NOT NULL, time REAL NOT NULL, user_id TEXT NOT NULL,
    PRIMARY KEY (anonymous_id, time)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_user ON identities (user_id, anonymous_id);

CREATE TABLE profiles (
    person TEXT PRIMARY KEY,
    body BLOB,
    personalization INTEGER, analytics INTEGER, consent_time REAL,  -- NULL: never stated
    objected INTEGER,      -- 1: the person has switched personalisation off
    preferences BLOB,
    assigned TEXT          -- the key that a customer's variant hangs on; NULL: not settled yet
) STRICT, WITHOUT ROWID;
CREATE INDEX refusals ON profiles (person) WHERE personalization = 0;
CREATE INDEX objections ON profiles (person) WHERE objected = 1;

CREATE TABLE items (
    item_id TEXT PRIMARY KEY, body BLOB NOT NULL, revision INTEGER NOT NULL,
    received_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX items_by_revision ON items (revision);

CREATE TABLE answers (
    number INTEGER PRIMARY KEY, time REAL NOT NULL, body BLOB NOT NULL, person TEXT
) STRICT;
CREATE INDEX answers_by_time ON answers (time);
CREATE INDEX answers_by_person ON answers (person) WHERE person IS NOT NULL;

-- Who was erased, by pseudonym (`recsys.events.pseudonyms`): what happened
-- before `time` and arrives later is nobody's, and stored rows of bundles are dropped.
CREATE TABLE erasures (
    code INTEGER NOT NULL, time REAL NOT NULL, receipt TEXT NOT NULL,
    PRIMARY KEY (code, time)
) STRICT, WITHOUT ROWID;
CREATE TABLE receipts (
    receipt TEXT PRIMARY KEY, time REAL NOT NULL, removed BLOB NOT NULL,
    log_time REAL, log_rows INTEGER    -- NULL: the event log is still to be cleared
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_waiting ON receipts (receipt) WHERE log_time IS NULL;
"""

FROM_1: Final = """
INSERT INTO meta VALUES ('forgotten', 0);
-- Of the ids in an old file nobody knows any more which of them an import brought.
UPDATE event_ids SET received_at = 1e18;
ALTER TABLE interactions ADD COLUMN name TEXT;
ALTER TABLE interactions ADD COLUMN brand TEXT;
ALTER TABLE interactions ADD COLUMN category TEXT;
ALTER TABLE interactions ADD COLUMN days REAL;
ALTER TABLE interactions ADD COLUMN member TEXT;
ALTER TABLE profiles ADD COLUMN objected INTEGER;
ALTER TABLE profiles ADD COLUMN preferences BLOB;
ALTER TABLE profiles ADD COLUMN assigned TEXT;
ALTER TABLE answers ADD COLUMN person TEXT;
"""
NEW_IN_2: Final = (
    "interactions_by_member", "objections", "answers_by_person", "erasures", "receipts",
    "receipts_waiting",
)  # fmt: skip
"""Tables and indexes that version 1 lacks; they are made as TABLES says."""


def connect(path: Path, *, busy_timeout: float, durable: bool = True) -> apsw.Connection:
    """A writing connection; `durable` commits reach the disk before they return.

    Raises apsw.Error. `busy_timeout` in seconds.
    """
    connection = _open(path, busy_timeout)
    _use_wal(connection, busy_timeout)
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA cache_size = -32768")  # KiB
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def connect_reading(path: Path, *, busy_timeout: float) -> apsw.Connection:
    """A connection that cannot write. Raises apsw.Error."""
    connection = _open(path, busy_timeout)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def create_tables(connection: apsw.Connection, path: Path) -> None:
    """Creates the tables in an empty file and brings those of version 1 up to date, in place.

    StoreError where the file holds something else, or is of a version that this program cannot
    read.
    """
    if _stamp(connection) == (APPLICATION_ID, SCHEMA_VERSION):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        match _stamp(connection):
            case (app, version) if (app, version) == (APPLICATION_ID, SCHEMA_VERSION):
                pass
            case (app, 1) if app == APPLICATION_ID:
                _from_1(connection)
            case (app, version) if app == APPLICATION_ID:
                raise StoreError(
                    f"Event store {path} has schema version {version}; this program reads version "
                    f"{SCHEMA_VERSION}. Open it with the program version that wrote it, or import "
                    "the event log into a new store."
                )
            case _:
                if next(connection.execute("SELECT count(*) FROM sqlite_schema"))[0]:
                    raise StoreError(
                        f"{path} is an SQLite file of another program; give the event store a "
                        "path of its own."
                    )
                connection.execute(TABLES)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _from_1(connection: apsw.Connection) -> None:
    connection.execute(FROM_1)
    for statement in re.findall(r"^CREATE .*?;$", TABLES, re.DOTALL | re.MULTILINE):
        if re.split(r"\s+", statement)[2] in NEW_IN_2:
            connection.execute(statement)
    persons = [
        (person, number)
        for number, body in connection.execute("SELECT number, body FROM answers")
        if (person := msgspec.msgpack.decode(body, type=_Person).person) is not None
    ]
    connection.executemany("UPDATE answers SET person = ? WHERE number = ?", persons)


class _Person(msgspec.Struct):
    person: str | None = None


def refusal(error: apsw.Error, path: Path) -> StoreError:
    """What an SQLite error means for the caller, with the remedy."""
    reason = f"{type(error).__name__}: {error}"
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreUnavailable(
                f"Event store {path} is locked by another writer ({reason}); try again, or give "
                "a longer busy_timeout."
            )
        case apsw.FullError():
            return StoreUnavailable(
                f"The disk below event store {path} is full ({reason}); nothing of this call was "
                "stored. Free space and try again."
            )
        case apsw.CantOpenError() | apsw.PermissionsError() | apsw.ReadOnlyError():
            return StoreUnavailable(
                f"Event store {path} cannot be opened for writing ({reason}); check that its "
                "folder exists and belongs to this user."
            )
        case apsw.IOError():
            return StoreUnavailable(
                f"Event store {path} cannot be read or written ({reason}); check the disk and "
                "try again."
            )
        case apsw.ConnectionClosedError():
            return StoreUnavailable(f"Event store {path} was closed; open it anew.")
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreError(
                f"Event store {path} is damaged or no SQLite file ({reason}); restore it from a "
                "backup, or import the event log into a new store."
            )
        case _:
            return StoreError(f"Event store {path} refused a statement ({reason}).")


def check_library() -> None:
    """StoreError where the SQLite library may corrupt a file that several processes write."""
    version = apsw.SQLITE_VERSION_NUMBER
    if version < SAFE_SQLITE:
        raise StoreError(
            f"SQLite {apsw.sqlite_lib_version()} may corrupt a store that several processes "
            "write; install apsw 3.51.3 or newer, which brings a safe one."
        )


def wait_when_busy(connection: apsw.Connection, busy_timeout: float) -> None:
    """Lets the connection wait about so many seconds for a lock, asking every millisecond.

    SQLite's own waits grow to 100 ms: among busy writers the longest of them then took ten times
    as long to get its turn.
    """
    most = round(busy_timeout / PAUSE)

    def again(count: int) -> bool:
        if count >= most:
            return False
        sleep(PAUSE)
        return True

    connection.set_busy_handler(again)


def _use_wal(connection: apsw.Connection, busy_timeout: float) -> None:
    """Switches the file to WAL, where it is not yet.

    Two processes that switch at once stand in each other's way with a shared lock each, and SQLite
    tells one of them "busy" without asking its busy handler; so that one asks again itself.
    """
    deadline = monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if monotonic() >= deadline:
                raise
            sleep(PAUSE)
        else:
            return


def _open(path: Path, busy_timeout: float) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    wait_when_busy(connection, busy_timeout)
    return connection


def _stamp(connection: apsw.Connection) -> tuple[int, int]:
    application = next(connection.execute("PRAGMA application_id"))[0]
    version = next(connection.execute("PRAGMA user_version"))[0]
    assert isinstance(application, int)
    assert isinstance(version, int)
    return application, version
