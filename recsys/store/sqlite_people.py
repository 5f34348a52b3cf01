"""Who is who and what they agreed to, inside one transaction of the SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import apsw
import msgspec

from recsys.events import Consent, Event
from recsys.profiles import UNKNOWN, Profile

KEPT_APART: Final = frozenset({"user_id", "anonymous_id", "consent", "traits"})
"""Fields of a profile with a rule of their own: the ids are the row's key, consent has columns."""


@dataclass(frozen=True, slots=True)
class Record:
    """One person's row: what was declared, and the latest statement of consent with its time.

    The profile has no ids: those are the row's key.
    """

    profile: Profile = UNKNOWN
    consent: Consent | None = None
    consent_time: float = float("-inf")

    @property
    def refuses(self) -> bool:
        """Whether the latest statement denies personalisation."""
        return self.consent is not None and not self.consent.personalization


class People:
    """Identities and records as one transaction sees them; `save` writes what changed.

    Of two statements of consent the later one stands; of two at one moment, the refusal.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._records: dict[str, Record | None] = {}
        self._changed: set[str] = set()
        self._identities: dict[str, list[tuple[float, str]]] = {}

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

    def refuses(self, key: str) -> bool:
        """Whether this person's latest statement denies personalisation."""
        record = self._record(key)
        return record is not None and record.refuses

    def declare(self, profile: Profile, time: float) -> None:
        """Takes a declared profile in; nothing of it where the person refuses."""
        if profile.user_id is not None:
            key = f"u:{profile.user_id}"
        else:
            assert profile.anonymous_id is not None
            key = self.owner(profile.anonymous_id, time)
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
            "UPDATE interactions SET person = ? WHERE person = ? AND lane IN (0, 1, 2) "
            "AND time >= ? AND time < ? AND visitor = ?",
            (f"u:{user_id}", self.owner(anonymous_id, time), since, until, anonymous_id),
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
        gone = [(key,) for key in self._changed if self._records[key] is None]
        self._connection.executemany("DELETE FROM profiles WHERE person = ?", gone)
        self._connection.executemany(
            "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?, ?, ?)",
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
        profile = declared_over(record.profile, own.profile)
        self._put(customer, replace(latest, profile=profile))
        self._put(visitor, None)

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
            self._records[key] = read_record(self._connection, key)
        return self._records[key]

    def _put(self, key: str, record: Record | None) -> None:
        self._records[key] = record
        self._changed.add(key)


def latest_statement(records: Sequence[Record]) -> Record:
    """The record whose consent was stated last; of two at one moment, the refusal."""
    return max(records, key=lambda record: (record.consent_time, record.refuses))


def read_record(connection: apsw.Connection, key: str) -> Record | None:
    """The person's row, or None for somebody unknown."""
    row = connection.execute(
        "SELECT body, personalization, analytics, consent_time FROM profiles WHERE person = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    body, personalization, analytics, time = row
    profile = UNKNOWN if body is None else read_profile(body)
    if personalization is None:
        return Record(profile)
    return Record(profile, Consent(bool(personalization), bool(analytics)), time)


def read_profile(body: bytes) -> Profile:
    """A stored profile, without the ids that are its row's key."""
    return _decoder.decode(body)


def named(profile: Profile, key: str) -> Profile:
    """The profile with the id of its person key; UNKNOWN stays nobody's."""
    if profile == UNKNOWN:
        return UNKNOWN
    if key.startswith("u:"):
        return msgspec.structs.replace(profile, user_id=key[2:])
    return msgspec.structs.replace(profile, anonymous_id=key[2:])


def _row(
    key: str, record: Record
) -> tuple[str, bytes | None, int | None, int | None, float | None]:
    body = None if record.profile == UNKNOWN else msgspec.json.encode(record.profile)
    if record.consent is None:
        return key, body, None, None, None
    agreed = record.consent
    return key, body, int(agreed.personalization), int(agreed.analytics), record.consent_time


def declared_over(below: Profile, above: Profile) -> Profile:
    """What `above` names replaces what `below` says; traits one by one. Ids stay `below`'s."""
    named = {
        name: value
        for name in Profile.__struct_fields__
        if name not in KEPT_APART and (value := getattr(above, name)) is not None
    }
    return msgspec.structs.replace(below, **named, traits={**below.traits, **above.traits})


_decoder = msgspec.json.Decoder(Profile)
