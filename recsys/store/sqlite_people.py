"""Who is who and what they agreed to, inside one transaction of the SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import apsw
import msgspec
import numpy as np

from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent, Event
from recsys.query.preferences import NO_PREFERENCES, Preferences, preferred_over
from recsys.query.profile import UNKNOWN, Profile

KEPT_APART: Final = frozenset({"user_id", "anonymous_id", "consent", "traits"})
"""Fields of a profile with a rule of their own: the ids are the row's key, consent has columns."""


@dataclass(frozen=True, slots=True)
class Record:
    """One person's row: what was declared and wished, and the latest statement of consent.

    Profile and preferences have no ids: those are the row's key. `objects`: the person has switched
    personalisation off, which no statement of consent outweighs.
    """

    profile: Profile = UNKNOWN
    consent: Consent | None = None
    consent_time: float = float("-inf")
    objects: bool = False
    preferences: Preferences = NO_PREFERENCES
    assigned: str | None = None
    """The key that the person's variant hangs on (`PersonRecords.settle`)."""

    @property
    def refuses(self) -> bool:
        """Whether the person objects, or the latest statement denies personalisation."""
        return self.objects or (self.consent is not None and not self.consent.personalization)


class PersonRecords:
    """Identities and records as one transaction sees them; `save` writes what changed.

    Of two statements of consent the later one stands; of two at one moment, the refusal.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._records: dict[str, Record | None] = {}
        self._changed: set[str] = set()
        self._identities: dict[str, list[tuple[float, str]]] = {}
        self._refused_before: dict[str, bool] = {}
        self._anybody_erased: bool | None = None

    def owner(self, anonymous_id: str, time: float) -> str:
        """The key that a visitor's event at `time` belongs to.

        Whoever logged in last before it, else the first who did after, else the visitor.
        """
        identities = self._identified(anonymous_id)
        if not identities:
            return f"a:{anonymous_id}"
        before = [user for since, user in identities if since <= time]
        return f"u:{before[-1] if before else identities[0][1]}"

    def subjects(self, event: Event, time: float) -> Sequence[str]:
        """The keys that an event's statement of consent is about."""
        keys = []
        if event.user_id is not None:
            keys.append(f"u:{event.user_id}")
        if event.anonymous_id is not None:
            if event.user_id is None:
                keys.append(self.owner(event.anonymous_id, time))
            elif not self._identified(event.anonymous_id):
                keys.append(f"a:{event.anonymous_id}")
        return keys

    def state(self, key: str, consent: Consent, time: float) -> None:
        """Records a statement of consent; a refusal by somebody unknown leaves nothing behind."""
        record = self._record(key)
        if record is None:
            if consent.personalization:
                self._put(key, Record(consent=consent, consent_time=time))
        elif time > record.consent_time or (
            time == record.consent_time and not consent.personalization
        ):
            self._put(key, replace(record, consent=consent, consent_time=time))

    def settle(self, event: Event) -> None:
        """Settles by a customer's first event which key their variant hangs on, once and for all:
        that of the visitor as whom they came, else their own."""
        if event.user_id is None:
            return
        key = f"u:{event.user_id}"
        record = self._record(key)
        if record is None or record.assigned is not None:
            return
        visitor = event.anonymous_id
        came_alone = visitor is None or any(
            user != event.user_id for _, user in self._identified(visitor)
        )
        known = self._connection.execute(
            "SELECT 1 FROM interactions WHERE person = ? LIMIT 1", (key,)
        ).fetchone()
        settled = key if came_alone or known is not None else f"a:{visitor}"
        self._put(key, replace(record, assigned=settled))

    def refuses(self, key: str) -> bool:
        """Whether this person objects, or their latest statement denies personalisation."""
        record = self._record(key)
        return record is not None and record.refuses

    def erased_after(self, key: str, time: float) -> bool:
        """Whether this person was erased at or after `time`: what happened by then is nobody's."""
        if self._anybody_erased is None:
            found = self._connection.execute("SELECT 1 FROM erasures LIMIT 1").fetchone()
            self._anybody_erased = found is not None
        return self._anybody_erased and was_erased(self._connection, key, time)

    def account(self, key: str) -> str | None:
        """The account that a person's profile names."""
        record = self._record(key)
        return None if record is None else record.profile.account_id

    def prefer(self, preferences: Preferences, time: float) -> bool:
        """Takes preferences in; False where nothing may be kept of this person.

        Switching personalisation off always works, also for somebody of whom nothing is known: an
        objection that is not remembered could not be honoured. Wishes need consent.
        """
        key = self._key(preferences.user_id, preferences.anonymous_id, time)
        record = self._record(key) or Record()
        if preferences.personalization is False:
            self._put(key, replace(record, objects=True))
            return True
        if preferences.personalization:
            analytics = record.consent is not None and record.consent.analytics
            self._put(key, replace(record, objects=False))
            self.state(key, Consent(personalization=True, analytics=analytics), time)
        if preferences.consent is not None:
            self.state(key, preferences.consent, time)
        record = self._record(key) or Record()
        if record.refuses or record.consent is None:
            return False
        wishes = preferred_over(record.preferences, preferences)
        self._put(key, replace(record, preferences=wishes))
        return True

    def declare(self, profile: Profile, time: float) -> None:
        """Takes a declared profile in; nothing of it where the person refuses."""
        key = self._key(profile.user_id, profile.anonymous_id, time)
        if profile.consent is not None:
            self.state(key, profile.consent, time)
            if not profile.consent.personalization:
                return
        record = self._record(key) or Record()
        if not record.refuses:
            self._put(key, replace(record, profile=declared_over(record.profile, profile)))

    def join(self, anonymous_id: str, user_id: str, time: float) -> None:
        """Notes that this visitor is this customer from `time` on, and moves what is theirs."""
        identities = self._identified(anonymous_id)
        until = min((since for since, _ in identities if since > time), default=float("inf"))
        since = time if any(earlier <= time for earlier, _ in identities) else float("-inf")
        # The rows of [since, until) have had one owner so far: `owner` of any moment in it.
        self._connection.execute(
            "UPDATE interactions SET person = ? WHERE person = ? AND lane IN (0, 1, 2, 3) "
            "AND time >= ? AND time < ? AND visitor = ?",
            (f"u:{user_id}", self.owner(anonymous_id, time), since, until, anonymous_id),
        )
        self._connection.execute(
            "UPDATE interactions SET member = ? WHERE member = ? AND time >= ? AND time < ?",
            (f"u:{user_id}", f"a:{anonymous_id}", since, until),
        )
        self._connection.execute(
            "INSERT OR REPLACE INTO identities (anonymous_id, time, user_id) VALUES (?, ?, ?)",
            (anonymous_id, time, user_id),
        )
        kept = [(moment, user) for moment, user in identities if moment != time]
        self._identities[anonymous_id] = sorted([*kept, (time, user_id)])
        self._merge(f"a:{anonymous_id}", f"u:{user_id}")

    def save(self) -> None:
        """Writes the changed records."""
        if any(self.refuses(key) != self._refused_before[key] for key in self._changed):
            count_forgotten(self._connection)
        gone = [(key,) for key in self._changed if self._records[key] is None]
        self._connection.executemany("DELETE FROM profiles WHERE person = ?", gone)
        self._connection.executemany(
            "INSERT OR REPLACE INTO profiles (person, body, personalization, analytics, "
            "consent_time, objected, preferences, assigned) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                _row(key, record)
                for key in sorted(self._changed)
                if (record := self._records[key]) is not None
            ],
        )
        self._changed.clear()

    def _merge(self, visitor: str, customer: str) -> None:
        record = self._record(visitor)
        if record is None:
            return
        own = self._record(customer) or Record()
        latest = latest_statement([own, record])
        self._put(
            customer,
            replace(
                latest,
                profile=declared_over(record.profile, own.profile),
                preferences=preferred_over(record.preferences, own.preferences),
                objects=own.objects or record.objects,
                assigned=own.assigned,
            ),
        )
        self._put(visitor, None)

    def _key(self, user_id: str | None, anonymous_id: str | None, time: float) -> str:
        if user_id is not None:
            return f"u:{user_id}"
        assert anonymous_id is not None
        return self.owner(anonymous_id, time)

    def _identified(self, anonymous_id: str) -> list[tuple[float, str]]:
        found = self._identities.get(anonymous_id)
        if found is None:
            found = [
                (float(time), str(user))
                for time, user in self._connection.execute(
                    "SELECT time, user_id FROM identities WHERE anonymous_id = ? ORDER BY time",
                    (anonymous_id,),
                )
            ]
            self._identities[anonymous_id] = found
        return found

    def _record(self, key: str) -> Record | None:
        if key not in self._records:
            record = read_record(self._connection, key)
            self._records[key] = record
            self._refused_before[key] = record is not None and record.refuses
        return self._records[key]

    def _put(self, key: str, record: Record | None) -> None:
        self._record(key)
        self._records[key] = record
        self._changed.add(key)


def latest_statement(records: Sequence[Record]) -> Record:
    """The record whose consent was stated last; of two at one moment, the refusal."""
    return max(records, key=lambda record: (record.consent_time, record.refuses))


def read_record(connection: apsw.Connection, key: str) -> Record | None:
    """The person's row, or None for somebody unknown."""
    row = connection.execute(
        "SELECT body, personalization, analytics, consent_time, objected, preferences, assigned "
        "FROM profiles WHERE person = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    body, personalization, analytics, time, objected, preferences, assigned = row
    record = Record(
        UNKNOWN if body is None else read_profile(body),
        objects=bool(objected),
        preferences=NO_PREFERENCES if preferences is None else read_preferences(preferences),
        assigned=assigned,
    )
    if personalization is None:
        return record
    return replace(
        record, consent=Consent(bool(personalization), bool(analytics)), consent_time=time
    )


def was_erased(connection: apsw.Connection, key: str, time: float) -> bool:
    """Whether the person of this key was erased at or after `time`."""
    found = connection.execute(
        "SELECT 1 FROM erasures WHERE code = ? AND time >= ?", (stored_code(key), time)
    )
    return found.fetchone() is not None


def stored_code(key: str) -> int:
    """The code of a person key as SQLite keeps it, in 64 bits with a sign."""
    return int(pseudonyms_of([key]).view(np.int64)[0])


def count_forgotten(connection: apsw.Connection) -> None:
    """Notes that somebody was erased, refuses, or refuses no longer."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'forgotten'")


def read_profile(body: bytes) -> Profile:
    """A stored profile, without the ids that are its row's key."""
    return _decoder.decode(body)


def read_preferences(body: bytes) -> Preferences:
    """Stored preferences."""
    return _preferences.decode(body)


def named(profile: Profile, key: str) -> Profile:
    """The profile with the id of its person key; UNKNOWN stays nobody's."""
    if profile == UNKNOWN:
        return UNKNOWN
    if key.startswith("u:"):
        return msgspec.structs.replace(profile, user_id=key[2:])
    return msgspec.structs.replace(profile, anonymous_id=key[2:])


def _row(key: str, record: Record) -> tuple[object, ...]:
    body = None if record.profile == UNKNOWN else msgspec.json.encode(record.profile)
    wishes = record.preferences
    said = (
        1 if record.objects else None,
        None if wishes == NO_PREFERENCES else msgspec.json.encode(wishes),
        record.assigned,
    )
    if record.consent is None:
        return key, body, None, None, None, *said
    agreed = record.consent
    return (
        key, body, int(agreed.personalization), int(agreed.analytics), record.consent_time, *said
    )  # fmt: skip


def declared_over(below: Profile, above: Profile) -> Profile:
    """What `above` names replaces what `below` says; traits one by one. Ids stay `below`'s."""
    named = {
        name: value
        for name in Profile.__struct_fields__
        if name not in KEPT_APART and (value := getattr(above, name)) is not None
    }
    return msgspec.structs.replace(below, **named, traits={**below.traits, **above.traits})


_decoder = msgspec.json.Decoder(Profile)
_preferences = msgspec.json.Decoder(Preferences)
