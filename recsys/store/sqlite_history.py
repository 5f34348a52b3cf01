"""A person's events in the SQLite store: how a batch is stored, how a history is read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import apsw
import msgspec

from recsys.events.schema import CATEGORY_SEPARATOR, Consent, Event, Person, anonymised
from recsys.ids import user_key, visitor_key
from recsys.query.facts import ACCOUNT_LIMIT, CUSTOM_LIMIT, FEEDBACK_LIMIT, LISTED_LIMIT
from recsys.query.history import StoredEvent
from recsys.query.preferences import NO_PREFERENCES, Preferences, preferred_over
from recsys.store.protocol import KnownPerson
from recsys.store.sqlite_people import PersonWriter
from recsys.store.sqlite_records import (
    Record,
    declared_over,
    latest_statement,
    profile_of,
    read_record,
)

DONE, LISTED, FEEDBACK, CUSTOM = range(4)
LANES: Final = {"view_item_list": LISTED, "feedback": FEEDBACK, "custom": CUSTOM}
"""Kinds with limits of their own: impressions, feedback on items, brands and categories, and the
events that the shop defined. What a person did is in lane DONE."""

_NEWEST: Final = (
    "FROM interactions WHERE person = ? AND lane = ? "
    "ORDER BY time DESC, seq DESC, position DESC LIMIT ?"
)
LANE_SQL: Final = {
    DONE: f"SELECT item_id, kind, time, session_id {_NEWEST}",
    LISTED: f"SELECT item_id, kind, time, session_id {_NEWEST}",
    FEEDBACK: "SELECT item_id, kind, time, session_id, action, name, brand, category, days "
    + _NEWEST,
    CUSTOM: f"SELECT item_id, kind, time, session_id, action, name {_NEWEST}",
}
"""Lane → its newest rows as the fields of StoredEvent."""
LAST_LANE_SQL: Final = "SELECT max(lane) FROM interactions WHERE person = ?"
ACCOUNT_SQL: Final = """
SELECT item_id, kind, time FROM interactions WHERE person = ? AND lane = 0 AND NOT EXISTS (
    SELECT 1 FROM profiles
    WHERE profiles.person = member AND (personalization = 0 OR objected = 1)
) AND member NOT IN (?, ?) ORDER BY time DESC, seq DESC, position DESC LIMIT ?
"""
INSERT_SQL: Final = """
INSERT INTO interactions (
    person, lane, time, seq, position, item_id, kind, session_id, action, visitor,
    name, brand, category, days, member
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

LASTING: Final = 1e18
"""Instead of the time at which an id was received: it is never pruned."""


def note_ids(
    connection: apsw.Connection, events: Sequence[Event], received_at: datetime, *, lasting: bool
) -> list[bool]:
    """True where an event's id is new, also within the batch; the ids are known from then on, and
    never pruned where they are `lasting`."""
    received = LASTING if lasting else received_at.timestamp()
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


def store_events(connection: apsw.Connection, events: Sequence[Event], *, first_seq: int) -> None:
    """Stores events under consecutive numbers: for the log, and for their persons where they may.

    An event is tied to a person when it carries consent, the person's latest statement, which may
    be newer than the event, does not refuse, and the person was not erased since.
    """
    people = PersonWriter(connection)
    waiting: list[tuple[int, bytes]] = []
    history: list[tuple[Any, ...]] = []
    for seq, event in enumerate(events, start=first_seq):
        time = event.timestamp.timestamp()
        subjects = people.subjects(event, time)
        if event.consent is not None:
            for key in subjects:
                if not people.erased_after(key, time):
                    people.state(key, event.consent, time)
        if not event.personalization or any(
            people.refuses(key) or people.erased_after(key, time) for key in subjects
        ):
            waiting.append((seq, _encoder.encode(anonymised(event))))
            continue
        waiting.append((seq, _encoder.encode(event)))
        people.assign(event)
        if event.event == "identify" and event.anonymous_id and event.user_id:
            # What this batch has brought so far moves along.
            _write(connection, history)
            history.clear()
            people.join(event.anonymous_id, event.user_id, time)
        if subjects:
            key = subjects[0]
            history.extend(_rows(event, key, time, seq))
            account = event.account_id or people.account(key)
            if account is not None and event.event not in LANES:
                history.extend(_rows(event, f"account:{account}", time, seq, member=key))
    _write(connection, history)
    connection.executemany("INSERT INTO waiting VALUES (?, ?)", waiting)
    people.save()


def known_person(
    connection: apsw.Connection, person: Person, limit: int, account_id: str | None
) -> KnownPerson:
    """What is on record about a person; of a visitor and a customer given together, of both."""
    keys = _keys(connection, person)
    records = {key: record for key in keys if (record := read_record(connection, key)) is not None}
    if not records:
        return KnownPerson(account=_account(connection, account_id, keys))
    consent = latest_statement(list(records.values())).consent
    if any(record.objects for record in records.values()):
        analytics = consent is not None and consent.analytics
        return KnownPerson(consent=Consent(personalization=False, analytics=analytics))
    if consent is not None and not consent.personalization:
        return KnownPerson(consent=consent)
    first, *visitors = records.values()
    profile, preferences = first.profile, first.preferences
    for visitor in visitors:
        profile = declared_over(visitor.profile, profile)
        preferences = preferred_over(visitor.preferences, preferences)
    return KnownPerson(
        keys[0],
        _history(connection, list(records), limit),
        profile_of(keys[0], profile),
        consent,
        preferences,
        _account(connection, account_id or profile.account_id, keys),
        _assigned(keys, records),
    )


def _assigned(keys: Sequence[str], records: Mapping[str, Record]) -> str:
    """The stored key, else the one that the first event will fix: the visitor's, else the
    customer's."""
    first = records.get(keys[0])
    return keys[-1] if first is None or first.assigned is None else first.assigned


def asked_for(connection: apsw.Connection, person: Person) -> Preferences:
    """What a person has asked for, the customer's above the visitor's."""
    records = [
        record
        for key in _keys(connection, person)
        if (record := read_record(connection, key)) is not None
    ]
    wishes = NO_PREFERENCES
    for record in reversed(records):
        wishes = preferred_over(wishes, record.preferences)
    if not records:
        return wishes
    return msgspec.structs.replace(
        wishes,
        personalization=False if any(record.objects for record in records) else None,
        consent=latest_statement(records).consent,
    )


def _keys(connection: apsw.Connection, person: Person) -> list[str]:
    keys = []
    if person.user_id is not None:
        keys.append(user_key(person.user_id))
    if person.anonymous_id is not None:
        # An identified visitor has no rows left, and their customer may be somebody else.
        latest = connection.execute(
            "SELECT user_id FROM identities WHERE anonymous_id = ? ORDER BY time DESC LIMIT 1",
            (person.anonymous_id,),
        ).fetchone()
        if latest is None:
            keys.append(visitor_key(person.anonymous_id))
        elif person.user_id is None:
            keys.append(user_key(latest[0]))
    return keys


def _history(connection: apsw.Connection, keys: Sequence[str], limit: int) -> list[StoredEvent]:
    newest_first: list[StoredEvent] = []
    runs = 0
    # Most people have nothing in the last lanes: one step to a person's last row tells.
    last = max(next(connection.execute(LAST_LANE_SQL, (key,)))[0] or DONE for key in keys)
    for lane, most in enumerate((limit, LISTED_LIMIT, FEEDBACK_LIMIT, CUSTOM_LIMIT)[: last + 1]):
        events: list[StoredEvent] = []
        for key in keys:
            rows: list[Any] = connection.execute(LANE_SQL[lane], (key, lane, most)).fetchall()
            events += [StoredEvent(*row) for row in rows]
            runs += bool(rows)
        if len(events) > most:
            events.sort(key=_time, reverse=True)
        newest_first += events[:most]
    if runs > 1:
        newest_first.sort(key=_time, reverse=True)
    newest_first.reverse()
    return newest_first


def _account(
    connection: apsw.Connection, account_id: str | None, keys: Sequence[str]
) -> Sequence[StoredEvent]:
    """What the other members of an account did, oldest first, but for those who refuse."""
    if account_id is None:
        return ()
    rows: list[Any] = connection.execute(
        ACCOUNT_SQL, (f"account:{account_id}", *(*keys, "", "")[:2], ACCOUNT_LIMIT)
    ).fetchall()
    return [StoredEvent(*row) for row in reversed(rows)]


def _rows(
    event: Event, key: str, time: float, seq: int, *, member: str | None = None
) -> list[tuple[Any, ...]]:
    lane = LANES.get(event.event, DONE)
    visitor = event.anonymous_id if event.user_id is None else None
    about = (event.event, event.session_id, event.action, visitor, event.name)
    items: list[tuple[str, str | None, str | None]] = [
        (item.item_id, None, None) for item in event.items
    ]
    if event.event == "feedback":
        # A brand and a category get a row each, after those of the items.
        if event.brand is not None:
            items.append(("", event.brand, None))
        if event.category is not None:
            items.append(("", None, CATEGORY_SEPARATOR.join(event.category)))
    elif event.event == "custom" and not items:
        items.append(("", None, None))
    return [
        (key, lane, time, seq, position, item_id, *about, brand, category, event.days, member)
        for position, (item_id, brand, category) in enumerate(items)
    ]


def _write(connection: apsw.Connection, history: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(INSERT_SQL, history)


_encoder = msgspec.json.Encoder()
_time = attrgetter("time")
