"""Pagination: the items of earlier answers of a page, looked up by recommendation id.

A recommendation id carries the millisecond of its answer, so that the impression log is read for
that moment alone. An answer is logged shortly after it is given, perhaps by another worker: a
recent one is looked up again until it is there or the wait is over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from numpy.random import Generator

from recsys.errors import StoreUnavailable
from recsys.store.protocol import AnswerStore, LoggedAnswer

WAIT_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.02
LOGGED_WITHIN: Final = timedelta(seconds=3)
"""An older answer that is not in the log was never logged."""
MILLISECOND: Final = timedelta(milliseconds=1)

_ID: Final = re.compile(r"r-([0-9a-f]{11})[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Pagination:
    """Earlier answers: those of the requested ids that are logged, and the items of their lists.

    `degraded`: the log could not be read.
    """

    recommendation_ids: tuple[str, ...] = ()
    item_ids: Sequence[str] = field(default_factory=tuple)
    degraded: bool = False


def new_id(now: datetime, rng: Generator) -> str:
    """A recommendation id: the millisecond and 96 random bits, tied to nobody."""
    return f"r-{_milliseconds(now):011x}{rng.bytes(12).hex()}"


def answered_at(id: str) -> datetime | None:
    """When the answer of this id was given; None where the id is not one of ours."""
    matched = _ID.fullmatch(id)
    if matched is None:
        return None
    return datetime.fromtimestamp(int(matched[1], 16) / 1000, UTC)


async def read_pagination(
    store: AnswerStore, ids: Sequence[str], *, now: datetime, wait_seconds: float = WAIT_SECONDS
) -> Pagination:
    """The items of the answers with these ids; unknown ids are left out."""
    moments = {id: moment for id in ids if (moment := answered_at(id)) is not None}
    logged: dict[str, list[LoggedAnswer]] = {}
    degraded = False
    waited = 0.0
    while missing := {id: moments[id] for id in moments if id not in logged}:
        try:
            for id, moment in missing.items():
                if answers := await asyncio.to_thread(_logged, store, id, moment):
                    logged[id] = answers
        except StoreUnavailable:
            degraded = True
            break
        may_come = [id for id in missing if id not in logged and now - moments[id] < LOGGED_WITHIN]
        if not may_come or waited >= wait_seconds:
            break
        await asyncio.sleep(PAUSE_SECONDS)
        waited += PAUSE_SECONDS
    items = {
        item: None for answers in logged.values() for answer in answers for item in answer.item_ids
    }
    return Pagination(tuple(id for id in ids if id in logged), tuple(items), degraded)


def _logged(store: AnswerStore, id: str, moment: datetime) -> list[LoggedAnswer]:
    answers = store.answers(since=moment - MILLISECOND, until=moment + 2 * MILLISECOND)
    return [answer for answer in answers if answer.recommendation_id == id]


def _milliseconds(now: datetime) -> int:
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND
