"""Group commit: events of requests that arrive together are committed in one transaction.

A durable commit costs one sync of the disk whatever its size, so that waiting a few milliseconds
for further requests multiplies the events that a worker can acknowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from recsys.errors import StoreUnavailable
from recsys.events.schema import Event
from recsys.store.protocol import EventStore
from serving.metrics import Metrics

MAX_COMMIT = 2000
"""Events in one transaction; the rest goes into the next one."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    events: Sequence[Event]
    outcome: asyncio.Future[list[bool]]


class EventWriter:
    """Appends events for all requests of one worker; one commit is under way at a time."""

    def __init__(
        self,
        store: EventStore,
        *,
        metrics: Metrics,
        clock: Callable[[], datetime],
        linger_seconds: float,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._linger = linger_seconds
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="event-writer")

    async def append(self, events: Sequence[Event]) -> list[bool]:
        """True per event where stored, False for a duplicate id; on return they are on disk.

        StoreUnavailable where the store could not take them; then none of them is acknowledged,
        and sending them again is safe because events are known by their ids.
        """
        outcome: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(events, outcome))
        if self._task is None:
            self._task = asyncio.create_task(self._commit_all())
        # The commit goes on where the client has gone: its events are stored all the same.
        return await outcome

    async def close(self) -> None:
        """Waits for what is under way."""
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._linger)
                await self._commit(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> list[_Waiting]:
        count, size = 0, 0
        for waiting in self._waiting:
            if count and size + len(waiting.events) > MAX_COMMIT:
                break
            count += 1
            size += len(waiting.events)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        events = [event for waiting in batch for event in waiting.events]
        loop = asyncio.get_running_loop()
        try:
            stored = await loop.run_in_executor(
                self._thread, lambda: self._store.append(events, received_at=self._clock())
            )
        except BaseException as error:
            if isinstance(error, StoreUnavailable):
                self._metrics.store_failures.labels("append").inc()
            _fail(error, batch)
            if not isinstance(error, Exception):
                raise
            return
        self._metrics.commit_size.observe(len(events))
        first = 0
        for waiting in batch:
            last = first + len(waiting.events)
            if not waiting.outcome.done():
                waiting.outcome.set_result(stored[first:last])
            first = last


def _fail(error: BaseException, batch: Sequence[_Waiting]) -> None:
    for waiting in batch:
        if not waiting.outcome.done():
            if isinstance(error, Exception):
                waiting.outcome.set_exception(error)
            else:
                waiting.outcome.cancel()
