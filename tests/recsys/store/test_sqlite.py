"""What is SQLite's own: several processes, kills at any moment, damaged and full files."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import StoreError, StoreUnavailable
from recsys.events.log import SCHEMA, EventLog
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.store.sqlite import SQLiteStore
from recsys.store.sqlite_schema import SAFE_SQLITE

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)


def make_event(id: str, *, day: int = 0, user: str = "u") -> Event:
    return Event(
        event_id=id,
        event="view_item",
        timestamp=NOON + timedelta(days=day),
        user_id=user,
        items=[EventItem(item_id=f"item-of-{id}")],
        consent=YES,
    )


def logged(log: EventLog) -> list[str]:
    tables = [pq.read_table(path, schema=SCHEMA) for path in log.files()]
    return sorted(pa.concat_tables(tables)["event_id"].to_pylist()) if tables else []


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


# `at_once(work, n)` runs work(0) … work(n − 1) in processes of their own, forked before any of
# them opens the store, and prints how each ended.
COMMON = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from recsys.atomic_files import path_beside
from recsys.events.log import EventLog, rows
from recsys.events.schema import Consent, Event, EventItem
from recsys.store.sqlite import SQLiteStore
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)
def make_event(id, day=0, user="u"):
    return Event(event_id=id, event="view_item", timestamp=NOON + timedelta(days=day),
                 user_id=user, items=[EventItem(item_id="item-of-" + id)], consent=YES)
def at_once(work, count):
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    print(*[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""

SENDERS = (
    COMMON
    + """
folder = Path(sys.argv[1])
def send(number):
    store = SQLiteStore(folder / "store.sqlite", busy_timeout=30)
    flags = []
    for batch in range(15):
        own = [make_event(f"{number}-{batch}-{n}", user=f"u{number}") for n in range(4)]
        shared = [make_event(f"shared-{batch}", user="everybody")]
        stored = store.append(own + shared, received_at=NOON)
        assert stored[:4] == [True] * 4
        flags.append(str(int(stored[4])))
    (folder / f"flags-{number}").write_text("".join(flags))
at_once(send, 8)
"""
)

APPENDER = (
    COMMON
    + """
store = SQLiteStore(Path(sys.argv[1]) / "store.sqlite", busy_timeout=30)
for n in range(100000):
    store.append([make_event(f"e{n}")], received_at=NOON)
    print(n, flush=True)
"""
)

# Archivers that die at a given point, counted over the parts.
DYING_ARCHIVERS = (
    COMMON
    + """
class DyingLog(EventLog):
    def __init__(self, root, moment):
        super().__init__(root)
        self.moment, self.parts = moment, 0
    def append(self, table, *, part):
        self.parts += 1
        if self.moment == f"before part {self.parts}":
            os._exit(9)
        if self.moment == f"within part {self.parts}":
            super().append(table.slice(0, len(table) // 2), part=part)
            day = table["timestamp"][0].as_py().strftime("%Y-%m-%d")
            path_beside(self.root / f"date={day}" / f"{part}.parquet").write_bytes(b"PAR1 half")
            os._exit(9)
        super().append(table, part=part)
        if self.moment == f"after part {self.parts}":
            os._exit(9)
def archive(number):
    folder = Path(sys.argv[1]) / sys.argv[2 + number]
    store = SQLiteStore(folder / "store.sqlite", part_bytes=600)
    store.append([make_event(f"e{n}", day=n % 2) for n in range(10)], received_at=NOON)
    store.archive(DyingLog(folder / "log", sys.argv[2 + number]))
rows([make_event("e")])  # what pyarrow loads at first use is loaded once for all
at_once(archive, len(sys.argv) - 2)
"""
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_the_library_below_is_one_that_several_processes_may_write_with() -> None:
    assert apsw.SQLITE_VERSION_NUMBER >= SAFE_SQLITE
    assert (
        int("{}{:03}{:03}".format(*map(int, apsw.sqlite_lib_version().split("."))))
        == apsw.SQLITE_VERSION_NUMBER
    )


def test_eight_processes_at_once_lose_and_double_nothing(tmp_path: Path, path: Path) -> None:
    senders = python(SENDERS, tmp_path)
    assert senders.communicate(timeout=60)[0].split() == ["0"] * 8
    # Each shared event was new for exactly one sender.
    flags = [(tmp_path / f"flags-{number}").read_text() for number in range(8)]
    assert [sum(int(stored[n]) for stored in flags) for n in range(15)] == [1] * 15

    store = SQLiteStore(path)
    for number in range(8):
        expected = {f"item-of-{number}-{b}-{n}" for b in range(15) for n in range(4)}
        history = store.person(Person(f"u{number}")).history
        assert len(history) == 60
        assert {row.item_id for row in history} == expected
    assert len(store.person(Person("everybody")).history) == 15
    log = EventLog(tmp_path / "log")
    assert store.archive(log) == 8 * 60 + 15
    assert len(set(logged(log))) == len(logged(log)) == 8 * 60 + 15
    store.close()


def test_what_a_killed_process_had_acknowledged_is_there(tmp_path: Path, path: Path) -> None:
    appender = python(APPENDER, tmp_path)
    assert appender.stdout is not None
    acknowledged = [int(line) for line in itertools.islice(appender.stdout, 40)]
    appender.kill()
    acknowledged += [int(line) for line in appender.stdout if line.endswith("\n")]
    appender.wait()
    appender.stdout.close()
    store = SQLiteStore(path)
    again = store.append([make_event(f"e{n}") for n in acknowledged], received_at=NOON)
    assert not any(again)
    history = store.person(Person("u"), limit=100_000).history
    assert {f"item-of-e{n}" for n in acknowledged} <= {row.item_id for row in history}
    store.close()


MOMENTS = [
    f"{when} part {number}" for number in (1, 2, 3) for when in ("before", "within", "after")
]


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with, for each of MOMENTS, a store whose archiver died then."""
    folder = tmp_path_factory.mktemp("died")
    for moment in MOMENTS:
        (folder / moment).mkdir()
    archivers = python(DYING_ARCHIVERS, folder, *MOMENTS)
    assert archivers.communicate(timeout=60)[0].split() == ["9"] * len(MOMENTS)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_archiver_killed_at_any_step_is_finished_by_the_next(moment: str, died: Path) -> None:
    store, log = SQLiteStore(died / moment / "store.sqlite"), EventLog(died / moment / "log")
    # Meanwhile others go on, among them one who repeats what was archived.
    later = [make_event("later", day=1), make_event("e0"), make_event("e9", day=1)]
    assert store.append(later, received_at=NOON) == [True, False, False]

    store.archive(log)
    assert logged(log) == sorted([*(f"e{n}" for n in range(10)), "later"])
    assert store.archive(log) == 0
    assert not list(log.root.rglob("*.writing*"))
    store.close()


def test_the_parts_of_an_archive_are_bounded(tmp_path: Path, path: Path) -> None:
    store = SQLiteStore(path, part_bytes=600)
    store.append([make_event(f"e{n}") for n in range(10)], received_at=NOON)
    log = EventLog(tmp_path / "log")
    assert store.archive(log) == 10
    assert len(log.files()) > 2
    assert len(logged(log)) == 10
    store.close()


def test_archiving_while_others_append_loses_and_doubles_nothing(
    tmp_path: Path, path: Path
) -> None:
    appender = python(APPENDER, tmp_path)
    assert appender.stdout is not None
    appender.stdout.readline()
    store, log = SQLiteStore(path, part_bytes=1 << 20, busy_timeout=30), EventLog(tmp_path / "log")
    archived = sum(store.archive(log) for _ in range(4))
    appender.kill()
    appender.wait()
    appender.stdout.close()
    archived += store.archive(log)
    stored = store.person(Person("u"), limit=1_000_000).history
    assert archived == len(stored) > 1
    assert Counter(logged(log)) == Counter(row.item_id.removeprefix("item-of-") for row in stored)
    store.close()


def test_a_second_archiver_is_told_to_wait(tmp_path: Path, path: Path) -> None:
    store = SQLiteStore(path, busy_timeout=0.05)
    store.append([make_event("e")], received_at=NOON)
    refused: list[str] = []

    class SlowLog(EventLog):
        def append(self, table: pa.Table, *, part: str) -> None:
            other = SQLiteStore(path, busy_timeout=0.05)
            with pytest.raises(StoreUnavailable) as message:
                other.archive(EventLog(self.root))
            refused.append(str(message.value))
            other.close()
            super().append(table, part=part)

    log = SlowLog(tmp_path / "log")
    assert store.archive(log) == 1
    assert "try again" in refused[0]
    assert logged(log) == ["e"]
    store.close()


def test_archived_events_leave_no_copy_in_the_store(tmp_path: Path, path: Path) -> None:
    store = SQLiteStore(path)
    event = Event(
        event_id="e", event="search", timestamp=NOON, user_id="u", consent=YES,
        search_term="a very private question",
    )  # fmt: skip
    store.append([event], received_at=NOON)
    store.archive(EventLog(tmp_path / "log"))
    store.close()
    assert b"very private question" not in path.read_bytes()
    assert not path.with_name("store.sqlite-wal").exists()


def test_two_stores_archive_into_one_log_without_overwriting_each_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    for name in ("one", "two"):
        store = SQLiteStore(tmp_path / name / "store.sqlite")
        store.append([make_event(f"of-{name}")], received_at=NOON)
        store.archive(log)
        store.close()
    assert logged(log) == ["of-one", "of-two"]


def test_threads_share_one_store(path: Path) -> None:
    store = SQLiteStore(path)
    seen: list[int] = []

    def work(number: int) -> None:
        for n in range(20):
            store.append([make_event(f"{number}-{n}")], received_at=NOON)
            seen.append(len(store.person(Person("u")).history))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == max(seen) == 120
    store.close()


def test_a_locked_store_says_so_after_the_time_out(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout=0.05)
    store.append([make_event("before")], received_at=NOON)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another writer"):
        store.append([make_event("e")], received_at=NOON)
    assert len(store.person(Person("u")).history) == 1
    other.execute("ROLLBACK")
    assert store.append([make_event("e")], received_at=NOON) == [True]
    other.close()
    store.close()


def test_on_a_full_disk_nothing_of_the_call_is_stored(path: Path) -> None:
    store = SQLiteStore(path)
    store.append([make_event("before")], received_at=NOON)
    pages = next(store._file.writer.execute("PRAGMA page_count"))[0]
    store._file.writer.execute(f"PRAGMA max_page_count = {pages}")
    many = [make_event(f"e{n}", user=f"u{n}") for n in range(2000)]
    with pytest.raises(StoreUnavailable, match="full"):
        store.append(many, received_at=NOON)
    assert not store.person(Person("u7")).history
    store._file.writer.execute(f"PRAGMA max_page_count = {2**30}")
    assert all(store.append(many, received_at=NOON))
    store.close()


def test_a_failing_call_leaves_the_store_usable(path: Path) -> None:
    store = SQLiteStore(path)
    with pytest.raises(AttributeError):
        store.append([make_event("e"), None], received_at=NOON)  # type: ignore[list-item]
    assert store.append([make_event("e")], received_at=NOON) == [True]
    store.close()


def test_a_store_of_another_schema_version_is_refused(path: Path) -> None:
    SQLiteStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"schema version 99.*reads version 2"):
        SQLiteStore(path)


def _write_junk(path: Path) -> None:
    path.write_bytes(b"this is no database at all, but it is long enough to look at" * 20)


def _write_other_database(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE somebody_elses (thing)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "message"), [(_write_junk, "damaged"), (_write_other_database, "another program")]
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(
    path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(path)
    with pytest.raises(StoreError, match=message):
        SQLiteStore(path)
    reread = path.read_bytes()
    assert b"event_ids" not in reread


def test_a_place_where_nothing_can_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="give a path"):
        SQLiteStore(tmp_path / "file" / "store.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SQLiteStore(tmp_path / "folder")
