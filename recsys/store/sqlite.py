"""`SQLiteStore`: the event store in one SQLite file, for the worker processes of one machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec

from recsys.catalog.items import Item, ItemChange
from recsys.errors import StoreUnavailable
from recsys.events.log import EventLog
from recsys.events.schema import Event, Person
from recsys.query.preferences import Preferences
from recsys.query.profile import Profile
from recsys.store.erasure import Erasure, Removed
from recsys.store.protocol import (
    CatalogChanges,
    ErasedUsers,
    KnownPerson,
    LoggedAnswer,
)
from recsys.store.reserve import Reserve
from recsys.store.sqlite_answers import count_answers, each_answer, log_answers
from recsys.store.sqlite_archive import archive, clear_log, waiting_events
from recsys.store.sqlite_catalog import all_items, catalog_changes, put_items, put_stock
from recsys.store.sqlite_file import SQLiteFile, meta, set_meta
from recsys.store.sqlite_history import asked_for, known_person, note_ids, store_events
from recsys.store.sqlite_people import PersonWriter
from recsys.store.sqlite_privacy import (
    export_page,
    prune_answers,
    prune_ids,
    remove,
    subject_of,
    thin_out,
)
from recsys.store.sqlite_records import (
    DENIED_SQL,
    UNMEASURED_SQL,
    all_preferences,
    all_profiles,
    erased_users,
)


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
            store_events(connection, fresh, first_seq=last_seq + 1)
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
            people = PersonWriter(connection)
            for profile in profiles:
                people.declare(profile, received_at.timestamp())
            people.save()

    def put_preferences(
        self, preferences: Sequence[Preferences], *, received_at: datetime
    ) -> list[bool]:
        """Stores preferences; False where nothing may be kept, since consent is missing."""
        with self._file.writing() as connection:
            people = PersonWriter(connection)
            kept = [people.prefer(wishes, received_at.timestamp()) for wishes in preferences]
            people.save()
        return kept

    def preferences(self, person: Person) -> Preferences:
        """What the person has asked for, the switch and the consent on record among it."""
        with self._file.snapshot() as connection:
            return asked_for(connection, person)

    def profiles(self) -> dict[str, Profile]:
        """Person key → profile, of everybody who has not refused."""
        return all_profiles(self._file)

    def all_preferences(self) -> dict[str, Preferences]:
        """Person key → preferences, of everybody who has any and has not refused."""
        return all_preferences(self._file)

    def denied(self) -> set[str]:
        """Keys of persons whose latest consent refuses; of a customer also the visitor's keys."""
        return {key for (key,) in self._file.read(DENIED_SQL)}

    def unmeasured(self) -> set[str]:
        """Keys of persons whose latest consent has no analytics; of a customer also the visitor's
        keys."""
        return {key for (key,) in self._file.read(UNMEASURED_SQL)}

    def put_items(self, items: Sequence[Item], *, received_at: datetime) -> int:
        """Replaces or adds catalogue items in one transaction; gives the new revision."""
        with self._file.writing() as connection:
            return put_items(connection, items, received_at)

    def put_stock(
        self, changes: Sequence[ItemChange], *, known: Mapping[str, Item], received_at: datetime
    ) -> list[bool]:
        """Changes stock and prices of items in one transaction; True where the item is there."""
        with self._file.writing() as connection:
            return put_stock(connection, changes, known, received_at)

    def items(self) -> list[Item]:
        """The whole catalogue as it is now, by id."""
        return all_items(self._file)

    def catalog_changes(self, *, since: int) -> CatalogChanges:
        """Items put after revision `since`, oldest change first; 0 gives all."""
        with self._file.snapshot() as connection:
            return catalog_changes(connection, since)

    def log_answers(self, answers: Sequence[LoggedAnswer]) -> None:
        """Appends answers; a power cut may lose the newest."""
        with self._file.writing(self._file.log) as connection:
            log_answers(connection, answers)

    def answers(self, *, since: datetime, until: datetime) -> list[LoggedAnswer]:
        """The answers given in [since, until), oldest first."""
        return list(self.each_answer(since=since, until=until))

    def each_answer(self, *, since: datetime, until: datetime) -> Iterator[LoggedAnswer]:
        """The same, read part by part, so that they need not all lie in memory."""
        return each_answer(self._file, since, until)

    def count_answers(self, *, since: datetime, until: datetime, at_most: int) -> int:
        """How many there are in [since, until); not counted beyond `at_most`."""
        return count_answers(self._file, since, until, at_most)

    def waiting(self) -> list[Event]:
        """The events that are not in the event log yet, in the order of their arrival."""
        return waiting_events(self._file)

    def archive(self, log: EventLog) -> int:
        """Copies events not yet archived into the log, each exactly once; gives their number.

        StoreUnavailable where another process archives for longer than `busy_timeout`.
        """
        return archive(self._file, log, part_bytes=self._part_bytes)

    def clear_log(self, log: EventLog, *, at: datetime) -> int:
        """Removes the rows of everybody erased since the last time from the log; their number."""
        return clear_log(self._file, log, at=at)

    def export(self, person: Person, *, section: str, offset: int, limit: int) -> list[Any]:
        """A page of what is kept about a person in one of EXPORT_SECTIONS, oldest first."""
        with self._file.snapshot() as connection:
            return export_page(connection, person, section=section, offset=offset, limit=limit)

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

    def erased_users(self, *, since: int = -1) -> ErasedUsers | None:
        """Whose stored rows must not be used; None where that is as at revision `since`."""
        with self._file.snapshot() as connection:
            return erased_users(connection, since)

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
                personal, members = thin_out(connection, subject_of(connection, person))
            history, account = history + personal, account + members
            if not personal + members:
                return Removed(history=history, account=account)
