"""A frame of questions, its columns and values checked: who asks, from where, for how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pandas as pd

from recsys.dataset.frames import Frame, check_columns, rows_of
from recsys.errors import InvalidInput
from recsys.events.schema import EVENT_KINDS
from recsys.ids import USER_PREFIX, VISITOR_PREFIX, Vocabulary
from recsys.query.facts import PersonFacts
from recsys.query.feedback import feedback_state
from recsys.query.history import StoredEvent, event_rows

QUESTION_COLUMNS: Final[Mapping[str, str]] = {
    "user_id": "the customer, looked up in the data",
    "anonymous_id": "the visitor, looked up in the data",
    "history": "item ids, oldest first, in place of a person",
    "kinds": "event kind of each item of history; purchase where missing",
    "times": "time of each item of history, with a zone; a moment ago where missing",
    "seeds": "item ids of the page or the cart",
    "country": "where the question is asked",
    "k": "how many items",
    "placement": "the place on the page",
}
"""Column → meaning; every column may be missing."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row: a person key to look up, or a history, and what is asked for."""

    k: int
    placement: str
    person: str | None = None
    history: tuple[StoredEvent, ...] = ()
    seeds: tuple[str, ...] = ()
    country: str | None = None

    def facts(self, items: Vocabulary, *, now: datetime) -> PersonFacts:
        """What the history says; whoever has one counts as a customer."""
        return PersonFacts(
            key=USER_PREFIX if self.history else None,
            events=event_rows(self.history, items),
            feedback=feedback_state(self.history, now=now),
        )


def read_questions(
    frame: Frame, *, now: datetime, n: int, placement: str
) -> tuple[pd.Index, list[Question]]:
    """The index of the frame and its rows as questions; `n` and `placement` stand in for `k` and
    `placement` where a row has none. InvalidInput names the row, the column and the value."""
    if now.tzinfo is None:
        raise InvalidInput("as_of", now.isoformat(), "give the time with a zone")
    names, rows = rows_of(frame, "questions")
    check_columns("questions", names, QUESTION_COLUMNS, required=())
    questions = []
    for number, row in enumerate(rows):
        try:
            questions.append(_question(row, now, n, placement))
        except InvalidInput as error:
            raise InvalidInput(
                f"questions column {error.field!r} of row {number}", error.value, error.remedy
            ) from error
    index = frame.index if isinstance(frame, pd.DataFrame) else pd.RangeIndex(len(questions))
    return index, questions


def _question(row: Mapping[str, object], now: datetime, n: int, placement: str) -> Question:
    person = _person(row)
    history = _history(row, now)
    if person is not None and history:
        raise InvalidInput("history", row["history"], "give a person or a history, not both")
    return Question(
        k=_positive("k", row.get("k", n)),
        placement=_text("placement", row.get("placement")) or placement,
        person=person,
        history=history,
        seeds=tuple(map(str, _list("seeds", row))),
        country=_text("country", row.get("country")),
    )


def _person(row: Mapping[str, object]) -> str | None:
    for column, prefix in (("user_id", USER_PREFIX), ("anonymous_id", VISITOR_PREFIX)):
        id = row.get(column)
        if isinstance(id, int) and not isinstance(id, bool):
            id = str(id)
        text = _text(column, id)
        if text is not None:
            return prefix + text
    return None


def _history(row: Mapping[str, object], now: datetime) -> tuple[StoredEvent, ...]:
    ids = [str(id) for id in _list("history", row)]
    # One second apart keeps the order, with hardly any decay.
    moments = [now.timestamp() - (len(ids) - 1 - position) for position in range(len(ids))]
    times = [_moment(time) for time in _parallel("times", row, len(ids))] or moments
    kinds = _parallel("kinds", row, len(ids)) or ["purchase"] * len(ids)
    for kind in kinds:
        if kind not in EVENT_KINDS:
            raise InvalidInput("kinds", kind, f"use {', '.join(EVENT_KINDS)}")
    events = [StoredEvent(*event) for event in zip(ids, map(str, kinds), times, strict=True)]
    return tuple(sorted((e for e in events if e.time <= now.timestamp()), key=_time))


def _time(event: StoredEvent) -> float:
    return event.time


def _parallel(column: str, row: Mapping[str, object], length: int) -> Sequence[object]:
    values = _list(column, row)
    if values and len(values) != length:
        raise InvalidInput(column, values, f"give one for each of the {length} items of history")
    return values


def _list(column: str, row: Mapping[str, object]) -> Sequence[object]:
    value = row.get(column, [])
    if not isinstance(value, list | tuple):
        raise InvalidInput(column, value, "give a list")
    return value


def _moment(time: object) -> float:
    try:
        moment = pd.Timestamp(time)
    except (ValueError, TypeError) as error:
        raise InvalidInput("times", time, "give times such as 2026-11-21T20:15:00Z") from error
    if moment.tzinfo is None:
        raise InvalidInput("times", str(time), "give times with a zone: 2026-11-21T20:15:00Z")
    return float(moment.timestamp())


def _text(column: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidInput(column, value, "give text")
    return value


def _positive(column: str, value: object) -> int:
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= 1
        and value == int(value)
    ):
        return int(value)
    raise InvalidInput(column, value, "give a whole number of at least 1")
