"""Nobody waits for a store that is slow or gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.errors import StoreUnavailable
from recsys.events.schema import Person
from recsys.store.protocol import KnownPerson
from recsys.store.sqlite import SQLiteStore
from serving.use_cases.person_reader import PersonReader

SOMEBODY = Person("somebody", None)


class SlowStore(SQLiteStore):
    """A store whose disk hangs while `hangs` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.hangs = False
        self.awake = threading.Event()
        self.reads = 0

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        self.reads += 1
        if self.hangs:
            self.awake.wait(20)
        return super().person(person, limit=limit, account_id=account_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SlowStore]:
    store = SlowStore(tmp_path / "store.sqlite")
    yield store
    store.awake.set()
    store.close()


def reader(store: SQLiteStore, now: list[float]) -> PersonReader:
    return PersonReader(
        store,
        patience_seconds=0.02,
        rest_seconds=1.0,
        stopwatch=lambda: now[0],
        failed=lambda: None,
    )


def test_a_read_gives_what_the_store_knows(store: SlowStore) -> None:
    assert reader(store, [0.0]).person(SOMEBODY) == KnownPerson()


def test_a_hanging_read_is_given_up_and_the_store_left_alone_until_it_is_back(
    store: SlowStore,
) -> None:
    now = [0.0]
    reading = reader(store, now)
    store.hangs = True
    with pytest.raises(StoreUnavailable, match="too long"):
        reading.person(SOMEBODY)
    with pytest.raises(StoreUnavailable, match="rests"):
        reading.person(SOMEBODY)
    now[0] = 1.5
    with pytest.raises(StoreUnavailable, match="hangs"):
        reading.person(SOMEBODY)
    assert store.reads == 1
    store.hangs = False
    store.awake.set()
    for _ in range(1000):
        now[0] += 2.0
        try:
            known = reading.person(SOMEBODY)
        except StoreUnavailable:
            threading.Event().wait(0.01)
        else:
            break
    assert known == KnownPerson()


def test_a_store_that_was_closed_is_unavailable(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.close()
    with pytest.raises(StoreUnavailable):
        reader(store, [0.0]).person(SOMEBODY)
