"""The line before the engine is as long as can be served in time."""

from __future__ import annotations

import asyncio

import pytest

from serving.api.problems import ProblemError
from serving.http.rate_limit import ALWAYS_QUEUED, CROWDED, MOVE_INTERVAL_SECONDS, Admission


class Clock:
    """Every turn takes `length` seconds."""

    def __init__(self, length: float) -> None:
        self.now = 0.0
        self.length = length


async def crowd(
    admission: Admission, clock: Clock, count: int
) -> tuple[list[int], list[ProblemError]]:
    """So many ask at once; who got a turn, in order, and what the others were told."""
    served: list[int] = []
    refused: list[ProblemError] = []

    async def take_turn(number: int) -> None:
        try:
            await admission.turn()
        except ProblemError as problem:
            refused.append(problem)
        else:
            clock.now += clock.length
            served.append(number)

    await asyncio.gather(*(take_turn(number) for number in range(count)))
    return served, refused


def admission_of(clock: Clock, *, wait_seconds: float, alone: bool = False) -> Admission:
    return Admission(
        wait_seconds=wait_seconds,
        stopwatch=lambda: clock.now,
        refused=lambda: None,
        alone=alone,
    )


def test_turns_are_taken_in_the_order_of_arrival() -> None:
    clock = Clock(0.001)
    served, refused = asyncio.run(crowd(admission_of(clock, wait_seconds=10), clock, 50))
    assert served == list(range(50))
    assert refused == []


def test_who_would_wait_too_long_is_sent_away_with_a_time_to_come_back() -> None:
    clock = Clock(0.01)
    admission = admission_of(clock, wait_seconds=0.4)

    async def twice() -> tuple[list[int], list[ProblemError]]:
        for _ in range(20):
            await crowd(admission, clock, ALWAYS_QUEUED)
        return await crowd(admission, clock, 200)

    served, refused = asyncio.run(twice())
    assert ALWAYS_QUEUED <= len(served) <= 60
    assert len(served) + len(refused) == 200
    assert {problem.status for problem in refused} == {503}
    assert refused[0].headers["Retry-After"] == "1"


def test_a_few_may_always_wait() -> None:
    clock = Clock(1.0)
    admission = admission_of(clock, wait_seconds=0.001)

    async def often() -> list[ProblemError]:
        return [
            problem
            for _ in range(5)
            for problem in (await crowd(admission, clock, ALWAYS_QUEUED))[1]
        ]

    assert asyncio.run(often()) == []


@pytest.mark.parametrize("leavers", [1, 5])
def test_who_leaves_the_line_holds_nobody_up(leavers: int) -> None:
    clock = Clock(0.001)
    admission = admission_of(clock, wait_seconds=10)

    async def leave() -> int:
        await admission.turn()
        waiting = [asyncio.ensure_future(admission.turn()) for _ in range(leavers + 1)]
        await asyncio.sleep(0)
        for turn in waiting[:-1]:
            turn.cancel()
        done, _ = await asyncio.wait(waiting)
        return sum(not turn.cancelled() for turn in done)

    assert asyncio.run(leave()) >= 1


def test_a_short_request_goes_before_the_others() -> None:
    async def answered() -> list[str]:
        admission, order = admission_of(Clock(0.001), wait_seconds=1.0), []

        async def ask(name: str, *, short: bool) -> None:
            await admission.turn(short=short)
            order.append(name)

        await asyncio.gather(
            *(ask(name, short=False) for name in ("first", "second", "third")),
            ask("events", short=True),
        )
        return order

    assert asyncio.run(answered()) == ["first", "events", "second", "third"]


def test_a_crowded_worker_sends_a_connection_on_now_and_then() -> None:
    async def sent_on(waiting: int, *, alone: bool = False) -> list[bool]:
        clock = Clock(0.001)
        admission = admission_of(clock, wait_seconds=1.0, alone=alone)
        asking = [asyncio.ensure_future(admission.turn()) for _ in range(waiting)]
        # Each takes its place in the line, none is let in yet.
        await asyncio.sleep(0)
        moved = [admission.moves_connection(), admission.moves_connection()]
        clock.now += MOVE_INTERVAL_SECONDS
        moved.append(admission.moves_connection())
        await asyncio.gather(*asking)
        return moved

    assert asyncio.run(sent_on(CROWDED + 1)) == [True, False, True]
    assert asyncio.run(sent_on(CROWDED)) == [False, False, False]
    assert asyncio.run(sent_on(CROWDED + 1, alone=True)) == [False, False, False]
