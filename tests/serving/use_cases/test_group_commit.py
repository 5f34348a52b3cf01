"""Group commit: one transaction for company, an answer for everyone, nothing lost silently."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from recsys.errors import StoreUnavailable
from recsys.events.schema import Event, Person, parse_event
from recsys.store.sqlite import SQLiteStore
from serving.metrics import Metrics
from serving.use_cases.group_commit import MAX_COMMIT, EventWriter

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def event(id: str, item: str = "tea-05") -> Event:
    return parse_event(
        {
            "event_id": id,
            "event": "view_item",
            "timestamp": NOW.isoformat(),
            "user_id": "u",
            "items": [{"item_id": item}],
            "consent": {"personalization": True},
        }
    )


def run(
    store: SQLiteStore, use: Callable[[EventWriter], Awaitable[None]], metrics: Metrics
) -> None:
    async def session() -> None:
        writer = EventWriter(store, metrics=metrics, clock=lambda: NOW, linger_seconds=0.01)
        await use(writer)
        await writer.close()

    asyncio.run(session())


def commits(metrics: Metrics) -> tuple[float, float]:
    """Number of commits, and of events in them."""
    text = metrics.text().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return (
        float(values["recsys_commit_events_count"]),
        float(values["recsys_commit_events_sum"]),
    )


def test_requests_that_arrive_together_are_committed_together(store: SQLiteStore) -> None:
    metrics = Metrics()

    async def use(writer: EventWriter) -> None:
        outcomes = await asyncio.gather(*(writer.append([event(f"e-{n}")]) for n in range(50)))
        assert outcomes == [[True]] * 50

    run(store, use, metrics)
    assert commits(metrics) == (1, 50)
    assert len(store.person(Person("u", None)).history) == 50


def test_each_request_hears_of_its_own_events_in_their_order(store: SQLiteStore) -> None:
    async def use(writer: EventWriter) -> None:
        first, second = await asyncio.gather(
            writer.append([event("a"), event("b"), event("a")]),
            writer.append([event("b"), event("c")]),
        )
        assert first == [True, True, False]
        assert second == [False, True]

    run(store, use, Metrics())


def test_a_commit_is_bounded_and_no_request_is_torn_apart(store: SQLiteStore) -> None:
    metrics = Metrics()
    half = MAX_COMMIT // 2 + 1

    async def use(writer: EventWriter) -> None:
        batches = [[event(f"{part}-{n}") for n in range(half)] for part in range(3)]
        outcomes = await asyncio.gather(*(writer.append(batch) for batch in batches))
        assert all(all(stored) for stored in outcomes)

    run(store, use, metrics)
    assert commits(metrics) == (3, 3 * half)


def test_where_the_store_is_locked_everybody_is_told_and_the_same_events_may_come_again(
    tmp_path: Path,
) -> None:
    store = SQLiteStore(tmp_path / "store.sqlite", busy_timeout=0.05)
    other = apsw.Connection(str(tmp_path / "store.sqlite"))

    async def use(writer: EventWriter) -> None:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(
            writer.append([event("a")]), writer.append([event("b")]), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
        other.execute("ROLLBACK")
        assert await writer.append([event("a"), event("b")]) == [True, True]

    run(store, use, Metrics())
    other.close()
    store.close()


def test_a_client_that_has_gone_spoils_nothing_for_the_others(store: SQLiteStore) -> None:
    async def use(writer: EventWriter) -> None:
        gone = asyncio.create_task(writer.append([event("a")]))
        stays = asyncio.create_task(writer.append([event("b")]))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == [True]
        with pytest.raises(asyncio.CancelledError):
            await gone

    run(store, use, Metrics())
    assert len(store.person(Person("u", None)).history) == 2
