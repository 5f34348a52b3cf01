"""Admission control: the rate limit under overload.

Handlers run one at a time on the event loop. Requests wait here for their turn, so that the length
of the queue is known: a request that would wait longer than `wait_seconds` gets 503 at once, in a
fraction of a millisecond, and those in the queue keep their latency.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from serving.api.problems import ProblemError

TURN_WEIGHT = 0.05
"""Weight of the newest turn in the moving average of the length of a turn."""
ALWAYS_QUEUED = 32
"""Number of requests that may always wait, however long a turn takes."""
CROWDED = 4
"""From this many waiting requests on, connections are moved to less busy workers."""
MOVE_INTERVAL_SECONDS = 0.05
"""Minimum time between two connections that are moved."""


class Admission:
    """A turn at a time; the queue is as long as can be served within `wait_seconds`.

    `refused` is called for each request that is refused; `alone` says that there is no other worker
    to which connections could be moved.
    """

    def __init__(
        self,
        *,
        wait_seconds: float,
        stopwatch: Callable[[], float],
        refused: Callable[[], object],
        alone: bool = False,
    ) -> None:
        self._wait = wait_seconds
        self._stopwatch = stopwatch
        self._refused = refused
        self._alone = alone
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy = False
        self._turn_seconds = 0.0
        self._began = 0.0
        self._last_moved = float("-inf")

    async def turn(self, *, short: bool = False) -> None:
        """Returns when it is this request's turn, which lasts until it next waits for something.

        A short request goes before the others: it delays them little, and they would delay it long.

        ProblemError 503 with `Retry-After` where the queue is too long.
        """
        loop = asyncio.get_running_loop()
        if not self._busy:
            self._busy = True
            self._began = self._stopwatch()
            loop.call_soon(self._next)
            return
        waiting = len(self._queue)
        if waiting >= ALWAYS_QUEUED and waiting * self._turn_seconds > self._wait:
            self._refused()
            raise ProblemError(
                503,
                "More is asked than can be answered in time; send it again a little later.",
                headers={"Retry-After": str(math.ceil(self._wait))},
            )
        turn: asyncio.Future[None] = loop.create_future()
        if short:
            self._queue.appendleft(turn)
        else:
            self._queue.append(turn)
        await turn

    def moves_connection(self) -> bool:
        """Whether the answer that is given now should close its connection.

        Workers accept connections from the same socket and keep them: a single worker may hold all
        of them. A new connection is accepted by the worker that has time.
        """
        if self._alone or len(self._queue) < CROWDED:
            return False
        now = self._stopwatch()
        if now < self._last_moved + MOVE_INTERVAL_SECONDS:
            return False
        self._last_moved = now
        return True

    def _next(self) -> None:
        now = self._stopwatch()
        self._turn_seconds += TURN_WEIGHT * (now - self._began - self._turn_seconds)
        self._began = now
        while self._queue:
            turn = self._queue.popleft()
            # A cancelled request needs no turn.
            if not turn.done():
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._busy = False
