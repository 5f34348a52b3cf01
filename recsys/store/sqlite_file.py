"""One SQLite file and the connections to it: writing one at a time, reading in each thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from recsys.errors import StoreUnavailable
from recsys.store.sqlite_schema import (
    check_library,
    connect,
    connect_reading,
    create_tables,
    refusal,
    wait_when_busy,
)


class SQLiteFile:
    """The event store's file, with its tables; every apsw error comes out as StoreError.

    `busy_timeout` is how many seconds a writing call waits for another writer, `read_timeout` how
    many a reading one waits where the whole file is locked. `writer` makes each commit durable;
    `log` need not.
    """

    def __init__(self, path: Path, *, busy_timeout: float, read_timeout: float) -> None:
        check_library()
        self.path = path
        self._busy_timeout = busy_timeout
        self._read_timeout = read_timeout
        self._lock = threading.Lock()
        self._reading = threading.local()
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = connect(self.path, busy_timeout=busy_timeout)
            create_tables(self.writer, self.path)
            self.log = connect(self.path, busy_timeout=busy_timeout, durable=False)
        except apsw.Error as error:
            raise refusal(error, self.path) from error
        except OSError as error:
            raise StoreUnavailable(
                f"The folder of event store {self.path} cannot be made ({error}); give a path "
                "that this user may write."
            ) from error

    @contextmanager
    def writing(self, connection: apsw.Connection | None = None) -> Iterator[apsw.Connection]:
        """One transaction on the durable writer, or on another connection of this object."""
        connection = connection or self.writer
        try:
            with self._lock:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    # A full disk has rolled back by itself.
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except apsw.Error as error:
            raise refusal(error, self.path) from error

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Several reads of one moment."""
        try:
            connection = self._reader()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
        except apsw.Error as error:
            raise refusal(error, self.path) from error

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        try:
            return self._reader().execute(sql, values).fetchall()
        except apsw.Error as error:
            raise refusal(error, self.path) from error

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keeps other processes from doing the same; StoreUnavailable where one does for longer
        than `busy_timeout`. The system takes the lock back when its holder dies: it is SQLite's
        own, on an empty file beside the store."""
        beside = Path(f"{self.path}.{what}")
        try:
            lock = apsw.Connection(str(beside))
            wait_when_busy(lock, self._busy_timeout)
            lock.execute("BEGIN EXCLUSIVE")
        except apsw.Error as error:
            raise refusal(error, beside) from error
        try:
            yield
        finally:
            lock.close()

    def empty_wal(self) -> None:
        """Takes over what was written into the file itself and empties the write-ahead log;
        StoreUnavailable where a reader is in the way for longer than `busy_timeout`."""
        try:
            with self._lock:
                blocked, _, _ = next(self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        except apsw.Error as error:
            raise refusal(error, self.path) from error
        if blocked:
            raise StoreUnavailable(
                f"A reader of event store {self.path} keeps old pages; try again when it is done."
            )

    def close(self) -> None:
        """Releases the connections."""
        with self._lock:
            self._closed = True
            for connection in (self.writer, self.log, *self._readers):
                connection.close()

    def _reader(self) -> apsw.Connection:
        connection: apsw.Connection | None = getattr(self._reading, "connection", None)
        if connection is None:
            if self._closed:
                raise StoreUnavailable(f"Event store {self.path} was closed; open it anew.")
            connection = connect_reading(self.path, busy_timeout=self._read_timeout)
            self._reading.connection = connection
            self._readers.add(connection)
        return connection


def meta(connection: apsw.Connection, name: str) -> int:
    """A number that the store keeps about itself."""
    value = next(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)))[0]
    assert isinstance(value, int)
    return value


def set_meta(connection: apsw.Connection, name: str, value: int) -> None:
    """Changes such a number."""
    connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
