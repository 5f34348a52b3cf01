"""Who is who and what they agreed to, inside one transaction of the SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import apsw
import numpy as np

from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent, Event
from recsys.ids import user_key, visitor_key
from recsys.query.preferences import Preferences, preferred_over
from recsys.query.profile import Profile
from recsys.store.sqlite_records import (
    Record,
    declared_over,
    latest_statement,
    read_record,
    write_records,
)


class PersonWriter:
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

    def key_of_visitor(self, anonymous_id: str, time: float) -> str:
        """The key that a visitor's event at `time` belongs to.

        Whoever logged in last before it, else the first who did after, else the visitor.
        """
        identities = self._identified(anonymous_id)
        if not identities:
            return visitor_key(anonymous_id)
        before = [user for since, user in identities if since <= time]
        return user_key(before[-1] if before else identities[0][1])

    def subjects(self, event: Event, time: float) -> Sequence[str]:
        """The keys that an event's statement of consent is about."""
        keys = []
        if event.user_id is not None:
            keys.append(user_key(event.user_id))
        if event.anonymous_id is not None:
            if event.user_id is None:
                keys.append(self.key_of_visitor(event.anonymous_id, time))
            elif not self._identified(event.anonymous_id):
                keys.append(visitor_key(event.anonymous_id))
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

    def assign(self, event: Event) -> None:
        """Fixes at a customer's first event the key that decides their variant for good: that of
        the visitor as whom they came, else the customer's."""
        if event.user_id is None:
            return
        key = user_key(event.user_id)
        record = self._record(key)
        if record is None or record.assigned is not None:
            return
        visitor = event.anonymous_id
        known = self._connection.execute(
            "SELECT 1 FROM interactions WHERE person = ? LIMIT 1", (key,)
        ).fetchone()
        if (
            visitor is not None
            and known is None
            and all(user == event.user_id for _, user in self._identified(visitor))
        ):
            self._put(key, replace(record, assigned=visitor_key(visitor)))
        else:
            self._put(key, replace(record, assigned=key))

    def refuses(self, key: str) -> bool:
        """Whether this person objects, or their latest statement denies personalisation."""
        record = self._record(key)
        return record is not None and record.refuses

    def erased_after(self, key: str, time: float) -> bool:
        """Whether this person was erased at or after `time`: what happened by then is nobody's."""
        if self._anybody_erased is None:
            erased = self._connection.execute("SELECT 1 FROM erasures LIMIT 1").fetchone()
            self._anybody_erased = erased is not None
        return self._anybody_erased and was_erased(self._connection, key, time)

    def account(self, key: str) -> str | None:
        """The account that a person's profile names."""
        record = self._record(key)
        return None if record is None else record.profile.account_id

    def prefer(self, preferences: Preferences, time: float) -> bool:
        """Stores preferences; False where nothing may be kept of this person.

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
        """Stores a declared profile; nothing of it where the person refuses."""
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
        # So far the visitor is the same person in all of [since, until).
        key = self.key_of_visitor(anonymous_id, time)
        self._connection.execute(
            "UPDATE interactions SET person = ? WHERE person = ? AND lane IN (0, 1, 2, 3) "
            "AND time >= ? AND time < ? AND visitor = ?",
            (user_key(user_id), key, since, until, anonymous_id),
        )
        self._connection.execute(
            "UPDATE interactions SET member = ? WHERE member = ? AND time >= ? AND time < ?",
            (user_key(user_id), visitor_key(anonymous_id), since, until),
        )
        self._connection.execute(
            "INSERT OR REPLACE INTO identities (anonymous_id, time, user_id) VALUES (?, ?, ?)",
            (anonymous_id, time, user_id),
        )
        kept = [(moment, user) for moment, user in identities if moment != time]
        self._identities[anonymous_id] = sorted([*kept, (time, user_id)])
        self._merge(visitor_key(anonymous_id), user_key(user_id))

    def save(self) -> None:
        """Writes the changed records."""
        if any(self.refuses(key) != self._refused_before[key] for key in self._changed):
            note_erasure(self._connection)
        gone = [(key,) for key in self._changed if self._records[key] is None]
        self._connection.executemany("DELETE FROM profiles WHERE person = ?", gone)
        changed = {key: self._records[key] for key in self._changed}
        write_records(
            self._connection, {key: record for key, record in changed.items() if record is not None}
        )
        self._changed.clear()

    def _merge(self, visitor: str, customer: str) -> None:
        record = self._record(visitor)
        if record is None:
            return
        above = self._record(customer) or Record()
        latest = latest_statement([above, record])
        self._put(
            customer,
            replace(
                latest,
                profile=declared_over(record.profile, above.profile),
                preferences=preferred_over(record.preferences, above.preferences),
                objects=above.objects or record.objects,
                assigned=above.assigned,
            ),
        )
        self._put(visitor, None)

    def _key(self, user_id: str | None, anonymous_id: str | None, time: float) -> str:
        if user_id is not None:
            return user_key(user_id)
        assert anonymous_id is not None
        return self.key_of_visitor(anonymous_id, time)

    def _identified(self, anonymous_id: str) -> list[tuple[float, str]]:
        identities = self._identities.get(anonymous_id)
        if identities is None:
            identities = [
                (float(time), str(user))
                for time, user in self._connection.execute(
                    "SELECT time, user_id FROM identities WHERE anonymous_id = ? ORDER BY time",
                    (anonymous_id,),
                )
            ]
            self._identities[anonymous_id] = identities
        return identities

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


def was_erased(connection: apsw.Connection, key: str, time: float) -> bool:
    """Whether the person of this key was erased at or after `time`."""
    erased = connection.execute(
        "SELECT 1 FROM erasures WHERE code = ? AND time >= ?", (stored_code(key), time)
    )
    return erased.fetchone() is not None


def stored_code(key: str) -> int:
    """The code of a person key as SQLite keeps it, in 64 bits with a sign."""
    return int(pseudonyms_of([key]).view(np.int64)[0])


def note_erasure(connection: apsw.Connection) -> None:
    """Raises the revision of `erased_users`: somebody was erased, refuses, or refuses no longer."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'forgotten'")
