"""Reading persons from a store that may be away: after a failure it is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from recsys.errors import StoreUnavailable
from recsys.events import Person
from recsys.store import KnownPerson, Store


class Persons(Protocol):
    """What an answer needs of a store."""

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        """One read of all that an answer needs about a person; see `Store.person`."""
        ...


class StoreReader:
    """`Store.person`, left alone for `rest_seconds` after each failure.

    Where the file is locked every read would wait for its time-out, one after the other; so only
    the first one does, and the answers after it are given without the store at once.
    """

    def __init__(
        self,
        store: Store,
        *,
        rest_seconds: float,
        stopwatch: Callable[[], float],
        failed: Callable[[], object],
    ) -> None:
        self._store = store
        self._rest = rest_seconds
        self._stopwatch = stopwatch
        self._failed = failed
        self._until = float("-inf")

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        """What the store knows; StoreUnavailable where it cannot be read, or could not just now."""
        if self._stopwatch() < self._until:
            raise StoreUnavailable("The event store could not be read a moment ago; it rests.")
        try:
            return self._store.person(person, limit=limit, account_id=account_id)
        except StoreUnavailable:
            self._until = self._stopwatch() + self._rest
            self._failed()
            raise
