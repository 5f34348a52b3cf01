"""Access and erasure in the SQLite store: all that is about a person, shown or removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw
import msgspec

from recsys.events.schema import Event, Person
from recsys.ids import USER_PREFIX, VISITOR_PREFIX, user_key, visitor_key
from recsys.store.erasure import Erasure, Removed
from recsys.store.sqlite_answers import anonymise_answers, answers_of
from recsys.store.sqlite_people import note_erasure, stored_code
from recsys.store.sqlite_records import Record, read_record

THINNED_AT_ONCE: Final = 500
"""Rows removed in one transaction where the disk is full."""
PRUNED_AT_ONCE: Final = 2000
"""Rows looked at in one transaction, so that nobody waits for it longer than some milliseconds."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One person under all names: `visitors` are the anonymous ids that logged in as them."""

    user_id: str | None
    visitors: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """Every person key under which rows may lie."""
        user = [] if self.user_id is None else [user_key(self.user_id)]
        return [*user, *map(visitor_key, self.visitors)]

    def is_of(self, event: Event) -> bool:
        """Whether the event names this person; a visitor only where it names no customer."""
        if event.user_id is not None:
            return event.user_id == self.user_id
        return event.anonymous_id in self.visitors


def subject_of(connection: apsw.Connection, person: Person) -> Subject:
    """Customer and visitors; of a visitor alone, that visitor and nobody who logged in there."""
    visitors = [] if person.anonymous_id is None else [person.anonymous_id]
    if person.user_id is not None:
        identities = connection.execute(
            "SELECT DISTINCT anonymous_id FROM identities WHERE user_id = ? ORDER BY 1",
            (person.user_id,),
        )
        visitors += [visitor for (visitor,) in identities if visitor not in visitors]
    return Subject(person.user_id, tuple(visitors))


def export_page(
    connection: apsw.Connection, person: Person, *, section: str, offset: int, limit: int
) -> list[Any]:
    """A page of one section, as plain values; IndexError for no such section."""
    subject = subject_of(connection, person)
    match section:
        case "person":
            records: list[Any] = [
                {"key": key, **_exported(record)}
                for key in subject.keys
                if (record := read_record(connection, key)) is not None
            ]
            records += [
                {"anonymous_id": visitor, "user_id": user_id, "since": since}
                for visitor in subject.visitors
                for user_id, since in connection.execute(
                    "SELECT user_id, time FROM identities WHERE anonymous_id = ? ORDER BY time",
                    (visitor,),
                )
                if subject.user_id in (None, user_id)
            ]
        case "history":
            records = _history(connection, subject, offset + limit)
        case "waiting":
            records = [msgspec.to_builtins(event) for _, event in _waiting(connection, subject)]
        case "answers":
            answers = answers_of(connection, subject.keys, offset + limit)
            records = [msgspec.to_builtins(answer) for answer in answers]
        case _:
            raise IndexError(section)
    return records[offset : offset + limit]


def remove(
    connection: apsw.Connection, subject: Subject, *, time: float, receipt: str, before: Removed
) -> Erasure:
    """Removes a person inside one transaction and notes the receipt, which counts what was removed
    `before` as well; where there is nothing to remove, the last receipt stands."""
    keys = [(key,) for key in subject.keys]
    account = _count(connection, "DELETE FROM interactions WHERE member = ?", keys)
    history = _count(connection, "DELETE FROM interactions WHERE person = ?", keys)
    profiles = _count(connection, "DELETE FROM profiles WHERE person = ?", keys)
    identities = 0
    if subject.user_id is not None:
        identities += _count(
            connection, "DELETE FROM identities WHERE user_id = ?", [(subject.user_id,)]
        )
    else:
        # What the visitor did before a login lies with the customer.
        names = [(visitor,) for visitor in subject.visitors]
        history += _count(
            connection,
            "DELETE FROM interactions WHERE visitor = ? AND person IN "
            f"(SELECT '{USER_PREFIX}' || user_id FROM identities WHERE anonymous_id = visitor)",
            names,
        )
        connection.executemany(
            f"UPDATE profiles SET assigned = person WHERE assigned = '{VISITOR_PREFIX}' || ?1 "
            f"AND person IN (SELECT '{USER_PREFIX}' || user_id FROM identities "
            "WHERE anonymous_id = ?1)",
            names,
        )
        identities += _count(connection, "DELETE FROM identities WHERE anonymous_id = ?", names)
    waiting = [(seq,) for seq, _ in _waiting(connection, subject)]
    connection.executemany("DELETE FROM waiting WHERE seq = ?", waiting)
    removed = Removed(
        history=before.history + history,
        account=before.account + account,
        waiting=len(waiting),
        profiles=profiles,
        identities=identities,
        answers=anonymise_answers(connection, subject.keys),
        rejected_lines=before.rejected_lines,
    )
    earlier = last_receipt(connection, subject)
    if removed == Removed() and earlier is not None:
        return earlier
    connection.execute(
        "INSERT INTO receipts (receipt, time, removed) VALUES (?, ?, ?)",
        (receipt, time, msgspec.json.encode(removed)),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO erasures (code, time, receipt) VALUES (?, ?, ?)",
        [(stored_code(key), time, receipt) for key in subject.keys],
    )
    note_erasure(connection)
    return Erasure(receipt, time, removed)


def thin_out(connection: apsw.Connection, subject: Subject) -> tuple[int, int]:
    """Removes some of a person's history and of what they did for accounts; 0, 0 at the end."""
    personal, members = (
        _count(
            connection,
            "DELETE FROM interactions WHERE (person, lane, time, seq, position) IN ("
            "SELECT person, lane, time, seq, position FROM interactions "
            f"WHERE {column} = ? LIMIT {THINNED_AT_ONCE})",
            [(key,) for key in subject.keys],
        )
        for column in ("person", "member")
    )
    return personal, members


def last_receipt(connection: apsw.Connection, subject: Subject) -> Erasure | None:
    """The newest erasure of the first of the person's keys that was ever erased."""
    for key in subject.keys:
        row = connection.execute(
            "SELECT receipt, r.time, removed, log_time, log_rows FROM erasures e "
            "JOIN receipts r USING (receipt) WHERE e.code = ? ORDER BY e.time DESC LIMIT 1",
            (stored_code(key),),
        ).fetchone()
        if row is not None:
            name, time, body, log_time, log_rows = row
            return Erasure(name, time, _removed.decode(body), log_time, log_rows)
    return None


def prune_ids(connection: apsw.Connection, after: str, before: float) -> tuple[str | None, int]:
    """Removes old ids among the next PRUNED_AT_ONCE; gives the last one looked at, None at the end,
    and how many went."""
    ids: Sequence[Any] = connection.execute(
        "SELECT event_id FROM event_ids WHERE event_id > ? ORDER BY event_id LIMIT ?",
        (after, PRUNED_AT_ONCE),
    ).fetchall()
    if not ids:
        return None, 0
    last = str(ids[-1][0])
    connection.execute(
        "DELETE FROM event_ids WHERE event_id > ? AND event_id <= ? AND received_at < ?",
        (after, last, before),
    )
    return last, connection.changes()


def prune_answers(connection: apsw.Connection, before: float) -> int:
    """Removes some of the answers given before a moment; 0 where none is left."""
    connection.execute(
        "DELETE FROM answers WHERE number IN "
        "(SELECT number FROM answers WHERE time < ? ORDER BY time LIMIT ?)",
        (before, PRUNED_AT_ONCE),
    )
    return connection.changes()


def _exported(record: Record) -> dict[str, Any]:
    """A record for the person's own eyes."""
    consent = None if record.consent is None else msgspec.to_builtins(record.consent)
    return {
        "profile": msgspec.to_builtins(record.profile),
        "preferences": msgspec.to_builtins(record.preferences),
        "personalization_switched_off": record.objects,
        "consent": consent,
        "consent_time": None if consent is None else record.consent_time,
        "variant_hangs_on": record.assigned,
    }


def _history(connection: apsw.Connection, subject: Subject, most: int) -> list[Any]:
    names = ("item_id", "kind", "time", "session_id", "action", "name", "brand", "category", "days")
    marks = ", ".join("?" * len(subject.keys))
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM interactions WHERE person IN ({marks}) "
        "ORDER BY time, seq, position LIMIT ?",
        (*subject.keys, most),
    )
    return [
        {name: value for name, value in zip(names, row, strict=True) if value not in (None, "")}
        for row in rows
    ]


def _waiting(connection: apsw.Connection, subject: Subject) -> list[tuple[int, Event]]:
    """The person's events that are not in the log yet."""
    events: dict[int, Event] = {}
    for id in (subject.user_id, *subject.visitors):
        if id is None:
            continue
        rows: Sequence[Any] = connection.execute(
            "SELECT seq, body FROM waiting WHERE instr(body, ?)", (msgspec.json.encode(id),)
        ).fetchall()
        for seq, body in rows:
            event = _events.decode(body)
            if subject.is_of(event):
                events[seq] = event
    return sorted(events.items())


def _count(connection: apsw.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
    before = connection.total_changes()
    connection.executemany(sql, rows)
    return int(connection.total_changes() - before)


_events = msgspec.json.Decoder(Event)
_removed = msgspec.json.Decoder(Removed)
