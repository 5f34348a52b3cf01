"""Overload: requests take turns, and who would wait too long is sent away at once.

An answer is computed in one go on the event loop, so that in a burst everything that has arrived
stands in line without anybody counting. Here the line is counted: between two turns the loop looks
at the sockets again, and a request that would wait longer than is useful gets its 503 in a fraction
of a millisecond, while those in line keep their latency.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from serving.api.problems import ProblemError

PACE_WEIGHT = 0.05
"""How much the newest turn counts in the mean length of a turn."""
AT_LEAST = 32
"""So many may always wait, however long a turn takes."""
CROWD = 4
"""From so many waiting on, connections are sent on to whichever worker is less busy."""
SENT_ON_SECONDS = 0.05
"""How long after one connection the next may be sent on."""


class Admission:
    """One turn at a time; the line is as long as can be served within `wait_seconds`.

    `refused` is called for each request that is sent away; `alone` says that there is no other
    worker to which connections could be sent on.
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
        self._line: deque[asyncio.Future[None]] = deque()
        self._taken = False
        self._pace = 0.0
        self._began = 0.0
        self._sent_on = float("-inf")

    async def turn(self, *, short: bool = False) -> None:
        """Returns when it is this request's turn, which lasts until it next waits for something.

        A short one goes before the others: it delays them little, and they would delay it long.

        ProblemError 503 with `Retry-After` where the line is too long.
        """
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            self._began = self._stopwatch()
            loop.call_soon(self._next)
            return
        waiting = len(self._line)
        if waiting >= AT_LEAST and waiting * self._pace > self._wait:
            self._refused()
            raise ProblemError(
                503,
                "More is asked than can be answered in time; send it again a little later.",
                headers={"Retry-After": str(math.ceil(self._wait))},
            )
        turn: asyncio.Future[None] = loop.create_future()
        if short:
            self._line.appendleft(turn)
        else:
            self._line.append(turn)
        await turn

    def sends_on(self) -> bool:
        """Whether the answer that is given now should end its connection.

        Workers take connections from one socket, and kept ones stay: of sixteen that are opened at
        once, one worker may hold all. The next connection is taken by who has time to.
        """
        if self._alone or len(self._line) < CROWD:
            return False
        now = self._stopwatch()
        if now < self._sent_on + SENT_ON_SECONDS:
            return False
        self._sent_on = now
        return True

    def _next(self) -> None:
        now = self._stopwatch()
        self._pace += PACE_WEIGHT * (now - self._began - self._pace)
        self._began = now
        while self._line:
            turn = self._line.popleft()
            # Who has gone meanwhile needs no turn.
            if not turn.done():
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
