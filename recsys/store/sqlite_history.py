"""A person's events in the SQLite store: how a batch is taken in, how a history is read back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import apsw
import msgspec

from recsys.events import Event, Person, anonymised
from recsys.store import FEEDBACK_LIMIT, LISTED_LIMIT, KnownPerson, StoredEvent
from recsys.store.sqlite_people import People, declared_over, latest_statement, named, read_record

LANES: Final = {"view_item_list": 1, "feedback": 2}
"""Kinds that are stored apart from what a person did (lane 0): lists merely seen, and what was said
of items."""

HISTORY_SQL: Final = (
    "SELECT item_id, kind, time, session_id, action FROM interactions "
    "WHERE person = ? AND lane = ? ORDER BY time DESC, seq DESC, position DESC LIMIT ?"
)


def note_ids(
    connection: apsw.Connection, events: Sequence[Event], received_at: datetime
) -> list[bool]:
    """True where an event's id is new, also within the batch; the ids are known from then on."""
    received = received_at.timestamp()
    noted = connection.executemany(
        "INSERT INTO event_ids VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING event_id",
        [(id, received) for id in sorted({event.event_id for event in events})],
    )
    fresh = {id for (id,) in noted}
    new = []
    for event in events:
        new.append(event.event_id in fresh)
        fresh.discard(event.event_id)
    return new


def take(connection: apsw.Connection, events: Sequence[Event], *, first_seq: int) -> None:
    """Stores events under consecutive numbers: for the log, and for their persons where they may.

    An event is tied to a person when it carries consent and the person's latest statement, which
    may be newer than the event, does not refuse.
    """
    people = People(connection)
    waiting: list[tuple[int, bytes]] = []
    history: list[tuple[Any, ...]] = []
    for seq, event in enumerate(events, start=first_seq):
        time = event.timestamp.timestamp()
        subjects = people.subjects(event, time)
        if event.consent is not None:
            for key in subjects:
                people.state(key, event.consent, time)
        if not event.personalization or any(people.refuses(key) for key in subjects):
            waiting.append((seq, _encoder.encode(anonymised(event))))
            continue
        waiting.append((seq, _encoder.encode(event)))
        if event.event == "identify" and event.anonymous_id and event.user_id:
            # What this batch has brought so far moves along.
            _write(connection, history)
            history.clear()
            people.join(event.anonymous_id, event.user_id, time)
        if subjects:
            history.extend(_rows(event, subjects[0], time, seq))
    _write(connection, history)
    connection.executemany("INSERT INTO waiting VALUES (?, ?)", waiting)
    people.save()


def known_person(connection: apsw.Connection, person: Person, limit: int) -> KnownPerson:
    """What is on record about a person; of a visitor and a customer given together, of both."""
    keys = _keys(connection, person)
    records = {key: record for key in keys if (record := read_record(connection, key)) is not None}
    if not records:
        return KnownPerson()
    consent = latest_statement(list(records.values())).consent
    if consent is not None and not consent.personalization:
        return KnownPerson(consent=consent)
    profile, *visitors = [record.profile for record in records.values()]
    for visitor in visitors:
        profile = declared_over(visitor, profile)
    return KnownPerson(
        keys[0], _history(connection, list(records), limit), named(profile, keys[0]), consent
    )


def _keys(connection: apsw.Connection, person: Person) -> list[str]:
    keys = []
    if person.user_id is not None:
        keys.append(f"u:{person.user_id}")
    if person.anonymous_id is not None:
        # An identified visitor has no rows left, and their customer may be somebody else.
        latest = connection.execute(
            "SELECT user_id FROM identities WHERE anonymous_id = ? ORDER BY time DESC LIMIT 1",
            (person.anonymous_id,),
        ).fetchone()
        if latest is None:
            keys.append(f"a:{person.anonymous_id}")
        elif person.user_id is None:
            keys.append(f"u:{latest[0]}")
    return keys


def _history(connection: apsw.Connection, keys: Sequence[str], limit: int) -> list[StoredEvent]:
    newest_first: list[StoredEvent] = []
    runs = 0
    for lane, most in ((0, limit), (1, LISTED_LIMIT), (2, FEEDBACK_LIMIT)):
        found: list[StoredEvent] = []
        for key in keys:
            rows: list[Any] = connection.execute(HISTORY_SQL, (key, lane, most)).fetchall()
            found += [StoredEvent(*row) for row in rows]
            runs += bool(rows)
        if len(found) > most:
            found.sort(key=_time, reverse=True)
        newest_first += found[:most]
    if runs > 1:
        newest_first.sort(key=_time, reverse=True)
    newest_first.reverse()
    return newest_first


def _rows(event: Event, key: str, time: float, seq: int) -> list[tuple[Any, ...]]:
    lane = LANES.get(event.event, 0)
    visitor = event.anonymous_id if event.user_id is None else None
    about = (event.event, event.session_id, event.action, visitor)
    return [
        (key, lane, time, seq, position, item.item_id, *about)
        for position, item in enumerate(event.items)
    ]


def _write(connection: apsw.Connection, history: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(
        "INSERT INTO interactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", history
    )


_encoder = msgspec.json.Encoder()
_time = attrgetter("time")
