"""The stores that the contract suite runs over, and how its events are made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from recsys.events.schema import Consent, Event, EventItem
from recsys.store.protocol import Store
from recsys.store.sqlite import SQLiteStore

STORES: Final[dict[str, Callable[[Path], Store]]] = {
    "sqlite": lambda folder: SQLiteStore(folder / "store.sqlite", part_bytes=2000),
}
"""Name → opens the store that lies in a folder; opened twice it is the same store."""

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)

YES: Final = Consent(personalization=True, analytics=True)
NO: Final = Consent(personalization=False, analytics=False)

_numbers = itertools.count()


def make_event(
    kind: Any = "view_item",
    *,
    minute: float = 0,
    items: Sequence[str] = (),
    consent: Consent | None = YES,
    event_id: str | None = None,
    **fields: Any,
) -> Event:
    """An event so many minutes after noon; its id is new where none is given."""
    return Event(
        event_id=event_id or f"e{next(_numbers)}",
        event=kind,
        timestamp=NOON + timedelta(minutes=minute),
        items=[EventItem(item_id=id) for id in items],
        consent=consent,
        **fields,
    )


@pytest.fixture
def event() -> Callable[..., Event]:
    """`make_event`."""
    return make_event


@pytest.fixture(params=sorted(STORES))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the one store of this test, as often as it is called."""
    opened: list[Store] = []

    def opening() -> Store:
        opened.append(STORES[request.param](tmp_path))
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """An empty store."""
    return open_store()
