"""Reads persons from a store that may be slow or unavailable, within a bounded time.

A read takes a tenth of a millisecond, but a file may be locked, a disk may hang, and SQLite may
retry for ten seconds. A separate thread reads, callers wait for a bounded time, and after a failure
the store is not read for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from recsys.errors import StoreUnavailable
from recsys.events.schema import Person
from recsys.store.protocol import KnownPerson, PeopleStore

STARVED = 5
"""Time-out multiplier for reads that are still queued."""


class Persons(Protocol):
    """The part of a store that answers need."""

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        """One read of all that an answer needs about a person; see `PeopleStore.person`."""
        ...


class PersonReader:
    """`PeopleStore.person` within about `patience_seconds`, or StoreUnavailable.

    After a failure the store is not read for `rest_seconds`, nor while a timed-out read still
    hangs. `failed` is called for each failure.
    """

    def __init__(
        self,
        store: PeopleStore,
        *,
        patience_seconds: float,
        rest_seconds: float,
        stopwatch: Callable[[], float],
        failed: Callable[[], object],
    ) -> None:
        self._store = store
        self._patience = patience_seconds
        self._rest = rest_seconds
        self._stopwatch = stopwatch
        self._failed = failed
        self._until = float("-inf")
        self._hanging: _Read | None = None
        self._reads: SimpleQueue[_Read] = SimpleQueue()
        threading.Thread(target=self._read_all, name="store-reader", daemon=True).start()

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        """What the store knows of a person."""
        if self._stopwatch() < self._until:
            raise StoreUnavailable("The event store could not be read a moment ago; it rests.")
        if self._hanging is not None:
            if not self._hanging.finished.acquire(blocking=False):
                self._rest_now()
                raise StoreUnavailable("A read of the event store hangs; answers do without it.")
            self._hanging = None
        read = _Read(person, limit, account_id)
        self._reads.put(read)
        if not self._finished(read):
            self._hanging = read
            self._rest_now()
            raise StoreUnavailable("The event store takes too long to read; it rests.")
        if read.error is not None:
            if isinstance(read.error, StoreUnavailable):
                self._rest_now()
            raise read.error
        assert read.known is not None
        return read.known

    def _finished(self, read: _Read) -> bool:
        if read.finished.acquire(timeout=self._patience):
            return True
        return not read.begun and read.finished.acquire(timeout=STARVED * self._patience)

    def _rest_now(self) -> None:
        self._until = self._stopwatch() + self._rest
        self._failed()

    def _read_all(self) -> None:
        while True:
            read = self._reads.get()
            read.begun = True
            try:
                read.known = self._store.person(
                    read.person, limit=read.limit, account_id=read.account_id
                )
            except Exception as error:
                # Raised where the read was asked for.
                read.error = error
            read.finished.release()


class _Read:
    """A read and its result; `finished` is locked until there is one."""

    __slots__ = ("account_id", "begun", "error", "finished", "known", "limit", "person")

    def __init__(self, person: Person, limit: int, account_id: str | None) -> None:
        self.person = person
        self.limit = limit
        self.account_id = account_id
        self.begun = False
        self.known: KnownPerson | None = None
        self.error: Exception | None = None
        self.finished = threading.Lock()
        self.finished.acquire()
