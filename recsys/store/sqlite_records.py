"""Stored persons in the SQLite store: what was declared, wished and agreed, a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import apsw
import msgspec
import numpy as np

from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent
from recsys.ids import USER_PREFIX, VISITOR_PREFIX, is_user_key
from recsys.query.preferences import NO_PREFERENCES, Preferences, with_interests
from recsys.query.profile import UNKNOWN, Profile
from recsys.store.protocol import ErasedUsers
from recsys.store.sqlite_file import SQLiteFile, meta

PROFILES_SQL: Final = """
SELECT person, body, preferences FROM profiles
WHERE personalization IS NOT 0 AND objected IS NOT 1
    AND (body IS NOT NULL OR preferences IS NOT NULL)
ORDER BY person
"""
DENIED_SQL: Final = f"""
WITH refusing AS (
    SELECT person FROM profiles WHERE personalization = 0
    UNION SELECT person FROM profiles WHERE objected = 1
)
SELECT person FROM refusing
UNION SELECT '{VISITOR_PREFIX}' || anonymous_id FROM refusing JOIN identities
ON user_id = substr(person, {len(USER_PREFIX) + 1}) WHERE person GLOB '{USER_PREFIX}*'
"""
"""Who refuses; of a customer who refuses also each of their visitors."""

UNMEASURED_SQL: Final = f"""
WITH refusing AS (SELECT person FROM profiles WHERE analytics = 0)
SELECT person FROM refusing
UNION SELECT '{VISITOR_PREFIX}' || anonymous_id FROM refusing JOIN identities
ON user_id = substr(person, {len(USER_PREFIX) + 1}) WHERE person GLOB '{USER_PREFIX}*'
"""
"""Whose latest statement does not allow analytics; of such a customer also each visitor."""

KEPT_APART: Final = frozenset({"user_id", "anonymous_id", "consent", "traits"})
"""Fields of a profile that are not merged: the ids are the row's key, consent has columns, traits
are merged one by one."""


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
    """The key that decides the person's variant (`PersonWriter.assign`)."""

    @property
    def refuses(self) -> bool:
        """Whether the person objects, or the latest statement denies personalisation."""
        return self.objects or (self.consent is not None and not self.consent.personalization)


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
        UNKNOWN if body is None else _profiles.decode(body),
        objects=bool(objected),
        preferences=NO_PREFERENCES if preferences is None else _preferences.decode(preferences),
        assigned=assigned,
    )
    if personalization is None:
        return record
    return replace(
        record, consent=Consent(bool(personalization), bool(analytics)), consent_time=time
    )


def write_records(connection: apsw.Connection, records: Mapping[str, Record]) -> None:
    """Replaces the rows of these person keys."""
    connection.executemany(
        "INSERT OR REPLACE INTO profiles (person, body, personalization, analytics, "
        "consent_time, objected, preferences, assigned) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(key, record) for key, record in sorted(records.items())],
    )


def all_profiles(file: SQLiteFile) -> dict[str, Profile]:
    """Person key → profile, interests among its traits, of everybody who has not refused."""
    profiles = {}
    for key, body, preferences in file.read(PROFILES_SQL):
        profile = UNKNOWN if body is None else _profiles.decode(body)
        wishes = NO_PREFERENCES if preferences is None else _preferences.decode(preferences)
        profiles[key] = profile_of(key, with_interests(profile, wishes))
    return profiles


def all_preferences(file: SQLiteFile) -> dict[str, Preferences]:
    """Person key → preferences, of everybody who has any and has not refused."""
    rows = file.read(
        "SELECT person, preferences FROM profiles WHERE personalization IS NOT 0 "
        "AND objected IS NOT 1 AND preferences IS NOT NULL ORDER BY person"
    )
    return {key: _preferences.decode(preferences) for key, preferences in rows}


def erased_users(connection: apsw.Connection, since: int) -> ErasedUsers | None:
    """The erased and those who refuse; None where that is as at revision `since`."""
    revision = meta(connection, "forgotten")
    if revision == since:
        return None
    erased: list[Any] = connection.execute("SELECT DISTINCT code FROM erasures").fetchall()
    refusing: list[Any] = connection.execute(DENIED_SQL).fetchall()
    codes = np.array([code for (code,) in erased], np.int64).view(np.uint64)
    denied = pseudonyms_of([key for (key,) in refusing])
    return ErasedUsers(revision, np.unique(np.concatenate([codes, denied])))


def declared_over(below: Profile, above: Profile) -> Profile:
    """The fields of `above`, else those of `below`, trait by trait; the ids are `below`'s."""
    declared = {
        name: value
        for name in Profile.__struct_fields__
        if name not in KEPT_APART and (value := getattr(above, name)) is not None
    }
    return msgspec.structs.replace(below, **declared, traits={**below.traits, **above.traits})


def profile_of(key: str, profile: Profile) -> Profile:
    """The profile with the id of its person key; UNKNOWN stays nobody's."""
    if profile == UNKNOWN:
        return UNKNOWN
    if is_user_key(key):
        return msgspec.structs.replace(profile, user_id=key.removeprefix(USER_PREFIX))
    return msgspec.structs.replace(profile, anonymous_id=key.removeprefix(VISITOR_PREFIX))


def _row(key: str, record: Record) -> tuple[object, ...]:
    body = None if record.profile == UNKNOWN else msgspec.json.encode(record.profile)
    wishes = record.preferences
    choices = (
        1 if record.objects else None,
        None if wishes == NO_PREFERENCES else msgspec.json.encode(wishes),
        record.assigned,
    )
    if record.consent is None:
        return key, body, None, None, None, *choices
    agreed = record.consent
    return (
        key, body, int(agreed.personalization), int(agreed.analytics), record.consent_time, *choices
    )  # fmt: skip


_profiles = msgspec.json.Decoder(Profile)
_preferences = msgspec.json.Decoder(Preferences)
