"""`SQLiteStore`: the event store in one SQLite file, for the worker processes of one machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import numpy as np

from recsys.catalog.items import Item, ItemChange
from recsys.errors import StoreUnavailable
from recsys.events.log import EventLog
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Event, Person
from recsys.query.preferences import NO_PREFERENCES, Preferences, with_interests
from recsys.query.profile import UNKNOWN, Profile
from recsys.store.erasure import Erasure, Removed
from recsys.store.protocol import (
    CatalogChanges,
    ErasedUsers,
    KnownPerson,
    LoggedAnswer,
)
from recsys.store.reserve import Reserve
from recsys.store.sqlite_archive import archive, clear_log
from recsys.store.sqlite_file import SQLiteFile, meta, set_meta
from recsys.store.sqlite_history import asked_for, known_person, note_ids, take
from recsys.store.sqlite_people import (
    PersonRecords,
    named,
    read_preferences,
    read_profile,
    was_erased,
)
from recsys.store.sqlite_privacy import (
    export_page,
    nobodys,
    prune_answers,
    prune_ids,
    remove,
    subject_of,
    thin_out,
)

DENIED_SQL: Final = """
WITH refusing AS (
    SELECT person FROM profiles WHERE personalization = 0
    UNION SELECT person FROM profiles WHERE objected = 1
)
SELECT person FROM refusing UNION SELECT 'a:' || anonymous_id FROM refusing JOIN identities
ON user_id = substr(person, 3) WHERE person GLOB 'u:*'
"""


ANSWERS_SQL: Final = """
SELECT time, number, body FROM answers
WHERE (time, number) > (?, ?) AND time < ? ORDER BY time, number LIMIT 5000
"""


class SQLiteStore:
    """The `Store` protocol on one file in WAL mode; several processes may open the same file.

    `busy_timeout` is how many seconds a call waits for another writer before StoreUnavailable,
    `read_timeout` how many a reading call waits where the whole file is locked (None: as long);
    `part_bytes` how much one part of the archive takes out at most. With `reserve_bytes` a file of
    that size is kept beside the store, to be given up when a full disk stands in the way of an
    erasure. StoreError where the file is damaged, of another program or of another schema version.

    Of the consent rules of the protocol: an event without consent, or of a person whose latest
    statement refuses, is stored `anonymised`; `identify` needs consent to join.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout: float = 5.0,
        read_timeout: float | None = None,
        part_bytes: int = 32 << 20,
        reserve_bytes: int = 0,
    ) -> None:
        self._file = SQLiteFile(
            Path(path),
            busy_timeout=busy_timeout,
            read_timeout=busy_timeout if read_timeout is None else read_timeout,
        )
        self._part_bytes = part_bytes
        self._reserve = Reserve(Path(f"{path}.reserve"), reserve_bytes)
        self._reserve.lay_by()

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def append(
        self, events: Sequence[Event], *, received_at: datetime, lasting: bool = False
    ) -> list[bool]:
        """Stores the events in one transaction; True where stored, False for a duplicate id."""
        if not events:
            return []
        with self._file.writing() as connection:
            stored = note_ids(connection, events, received_at, lasting=lasting)
            fresh = [event for event, new in zip(events, stored, strict=True) if new]
            last_seq = meta(connection, "last_seq")
            take(connection, fresh, first_seq=last_seq + 1)
            set_meta(connection, "last_seq", last_seq + len(fresh))
        return stored

    def person(
        self, person: Person, *, limit: int = 500, account_id: str | None = None
    ) -> KnownPerson:
        """One read, in one snapshot, of all that an answer needs about a person."""
        with self._file.snapshot() as connection:
            return known_person(connection, person, limit, account_id)

    def put_profiles(self, profiles: Sequence[Profile], *, received_at: datetime) -> None:
        """Declares profiles; a field that a profile leaves out keeps its value."""
        with self._file.writing() as connection:
            people = PersonRecords(connection)
            for profile in profiles:
                people.declare(profile, received_at.timestamp())
            people.save()

    def put_preferences(
        self, preferences: Sequence[Preferences], *, received_at: datetime
    ) -> list[bool]:
        """Takes preferences in; False where nothing may be kept, since consent is missing."""
        with self._file.writing() as connection:
            people = PersonRecords(connection)
            taken = [people.prefer(wished, received_at.timestamp()) for wished in preferences]
            people.save()
        return taken

    def preferences(self, person: Person) -> Preferences:
        """What the person has asked for, the switch and the consent on record among it."""
        with self._file.snapshot() as connection:
            return asked_for(connection, person)

    def profiles(self) -> dict[str, Profile]:
        """Person key → profile, of everybody who has not refused."""
        found = self._file.read(
            "SELECT person, body, preferences FROM profiles WHERE personalization IS NOT 0 "
            "AND objected IS NOT 1 AND (body IS NOT NULL OR preferences IS NOT NULL) "
            "ORDER BY person"
        )
        declared = {}
        for key, body, preferences in found:
            profile = UNKNOWN if body is None else read_profile(body)
            wishes = NO_PREFERENCES if preferences is None else read_preferences(preferences)
            declared[key] = named(with_interests(profile, wishes), key)
        return declared

    def all_preferences(self) -> dict[str, Preferences]:
        """Person key → preferences, of everybody who has any and has not refused."""
        stored = self._file.read(
            "SELECT person, preferences FROM profiles WHERE personalization IS NOT 0 "
            "AND objected IS NOT 1 AND preferences IS NOT NULL ORDER BY person"
        )
        return {key: read_preferences(preferences) for key, preferences in stored}

    def denied(self) -> set[str]:
        """Keys of persons whose latest consent refuses; of a customer also the visitor's keys."""
        return {key for (key,) in self._file.read(DENIED_SQL)}

    def put_items(self, items: Sequence[Item], *, received_at: datetime) -> int:
        """Replaces or adds catalogue items in one transaction; gives the new revision."""
        with self._file.writing() as connection:
            revision = meta(connection, "revision") + 1
            set_meta(connection, "revision", revision)
            received = received_at.timestamp()
            connection.executemany(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)",
                [(item.item_id, _json.encode(item), revision, received) for item in items],
            )
        return revision

    def put_stock(
        self, changes: Sequence[ItemChange], *, known: Mapping[str, Item], received_at: datetime
    ) -> list[bool]:
        """Changes stock and prices of items in one transaction; True where the item is there."""
        with self._file.writing() as connection:
            revision = meta(connection, "revision") + 1
            changed: dict[str, Item] = {}
            for change in changes:
                item = changed.get(change.item_id) or _stored_item(connection, change.item_id)
                item = item or known.get(change.item_id)
                if item is not None:
                    changed[change.item_id] = change.applied(item)
            if changed:
                set_meta(connection, "revision", revision)
                connection.executemany(
                    "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)",
                    [
                        (id, _json.encode(item), revision, received_at.timestamp())
                        for id, item in changed.items()
                    ],
                )
        return [change.item_id in changed for change in changes]

    def items(self) -> list[Item]:
        """The whole catalogue as it is now, by id."""
        return [
            _items.decode(body)
            for (body,) in self._file.read("SELECT body FROM items ORDER BY item_id")
        ]

    def catalog_changes(self, *, since: int) -> CatalogChanges:
        """Items put after revision `since`, oldest change first; 0 gives all."""
        with self._file.snapshot() as connection:
            revision = meta(connection, "revision")
            if revision <= since:
                return CatalogChanges(revision, ())
            found: list[Any] = connection.execute(
                "SELECT body FROM items WHERE revision > ? ORDER BY revision, item_id", (since,)
            ).fetchall()
        return CatalogChanges(revision, tuple(_items.decode(body) for (body,) in found))

    def log_answers(self, answers: Sequence[LoggedAnswer]) -> None:
        """Appends answers; a power cut may lose the newest."""
        with self._file.writing(self._file.log) as connection:
            anybody_erased = connection.execute("SELECT 1 FROM erasures LIMIT 1").fetchone()
            if anybody_erased is not None:
                # They were given before, and waited here, while somebody was erased.
                answers = [
                    nobodys(answer)
                    if answer.person is not None
                    and was_erased(connection, answer.person, answer.time)
                    else answer
                    for answer in answers
                ]
            connection.executemany(
                "INSERT INTO answers (time, body, person) VALUES (?, ?, ?)",
                [
                    (answer.time, msgspec.msgpack.encode(answer), answer.person)
                    for answer in answers
                ],
            )

    def answers(self, *, since: datetime, until: datetime) -> list[LoggedAnswer]:
        """The answers given in [since, until), oldest first."""
        return list(self.each_answer(since=since, until=until))

    def each_answer(self, *, since: datetime, until: datetime) -> Iterator[LoggedAnswer]:
        """The same, read part by part, so that they need not all lie in memory."""
        last: tuple[float, int] = (since.timestamp(), -1)
        while found := self._file.read(ANSWERS_SQL, (*last, until.timestamp())):
            for _, _, body in found:
                yield _answers.decode(body)
            last = found[-1][:2]

    def count_answers(self, *, since: datetime, until: datetime, at_most: int) -> int:
        """How many there are in [since, until); not counted beyond `at_most`."""
        found = self._file.read(
            "SELECT count(*) FROM (SELECT 1 FROM answers WHERE time >= ? AND time < ? LIMIT ?)",
            (since.timestamp(), until.timestamp(), at_most),
        )
        return int(found[0][0])

    def waiting(self) -> list[Event]:
        """The events that are not in the event log yet, in the order of their arrival."""
        found = self._file.read("SELECT body FROM waiting ORDER BY seq")
        return [_events.decode(body) for (body,) in found]

    def archive(self, log: EventLog) -> int:
        """Copies events not yet archived into the log, each exactly once; gives their number.

        StoreUnavailable where another process archives for longer than `busy_timeout`.
        """
        return archive(self._file, log, part_bytes=self._part_bytes)

    def clear_log(self, log: EventLog, *, at: datetime) -> int:
        """Removes the rows of everybody erased since the last time from the log; their number."""
        return clear_log(self._file, log, at=at)

    def export(self, person: Person, *, place: str, offset: int, limit: int) -> list[Any]:
        """A page of what is kept about a person in one of PLACES, oldest first."""
        with self._file.snapshot() as connection:
            return export_page(connection, person, place=place, offset=offset, limit=limit)

    def visitors(self, person: Person) -> list[Person]:
        """The person as the event log may name them."""
        with self._file.snapshot() as connection:
            subject = subject_of(connection, person)
        customer = [] if subject.user_id is None else [Person(subject.user_id)]
        return [*customer, *(Person(anonymous_id=visitor) for visitor in subject.visitors)]

    def erase(
        self, person: Person, *, receipt: str, at: datetime, rejected_lines: int = 0
    ) -> Erasure:
        """Removes everything that is tied to a person, on a full disk from the reserve.

        The free pages are overwritten (secure_delete) and the write-ahead log is emptied, so that
        no copy stays behind. StoreUnavailable where a reader is in the way of that for longer than
        `busy_timeout`: the rows are gone then, and asking again finishes it.
        """
        try:
            erasure = self._erase(person, receipt, at, rejected_lines)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, apsw.BusyError) or not self._reserve.give_up():
                raise
            removed = self._thin_out(person)
            erasure = self._erase(person, receipt, at, rejected_lines, before=removed)
        self._file.empty_wal()
        self._reserve.lay_by()
        return erasure

    def forgotten(self, *, since: int = -1) -> ErasedUsers | None:
        """Whose stored rows must not be used; None where that is as at revision `since`."""
        with self._file.snapshot() as connection:
            revision = meta(connection, "forgotten")
            if revision == since:
                return None
            erased: list[Any] = connection.execute("SELECT DISTINCT code FROM erasures").fetchall()
            refusing: list[Any] = connection.execute(DENIED_SQL).fetchall()
        codes = np.array([code for (code,) in erased], np.int64).view(np.uint64)
        return ErasedUsers(
            revision,
            np.unique(np.concatenate([codes, pseudonyms_of([key for (key,) in refusing])])),
        )

    def prune(self, *, event_ids_before: datetime, answers_before: datetime) -> tuple[int, int]:
        """Forgets ids of events received, and answers given, before these moments; how many."""
        ids = answers = 0
        last: str | None = ""
        while last is not None:
            with self._file.writing() as connection:
                last, count = prune_ids(connection, last, event_ids_before.timestamp())
            ids += count
        while True:
            with self._file.writing() as connection:
                count = prune_answers(connection, answers_before.timestamp())
            answers += count
            if not count:
                return ids, answers

    def close(self) -> None:
        """Releases the connections; the object cannot be used afterwards."""
        self._file.close()

    def _erase(
        self,
        person: Person,
        receipt: str,
        at: datetime,
        rejected_lines: int,
        *,
        before: Removed | None = None,
    ) -> Erasure:
        counts = before or Removed()
        with self._file.writing() as connection:
            return remove(
                connection,
                subject_of(connection, person),
                time=at.timestamp(),
                receipt=receipt,
                before=msgspec.structs.replace(counts, rejected_lines=rejected_lines),
            )

    def _thin_out(self, person: Person) -> Removed:
        """Removes a history bite by bite, so that it needs little room: what a commit writes anew
        is taken over into the file before the next."""
        history = account = 0
        while True:
            self._file.empty_wal()
            with self._file.writing() as connection:
                own, members = thin_out(connection, subject_of(connection, person))
            history, account = history + own, account + members
            if not own + members:
                return Removed(history=history, account=account)


def _stored_item(connection: apsw.Connection, item_id: str) -> Item | None:
    found = connection.execute("SELECT body FROM items WHERE item_id = ?", (item_id,)).fetchone()
    return None if found is None else _items.decode(found[0])


_json = msgspec.json.Encoder()
_events = msgspec.json.Decoder(Event)
_items = msgspec.json.Decoder(Item)
_answers = msgspec.msgpack.Decoder(LoggedAnswer)
