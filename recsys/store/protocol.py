"""The event store: events, people, live catalogue and logged answers, a protocol for each.

Training and serving meet here. Consent is enforced at this door, so that no caller can forget it:
an event without consent to personalisation is stored without anything tied to a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from recsys.catalog.items import Item, ItemChange
from recsys.events.log import EventLog
from recsys.events.pseudonyms import Pseudonyms
from recsys.events.schema import Consent, Event, Person
from recsys.query.facts import HISTORY_LIMIT
from recsys.query.history import StoredEvent
from recsys.query.preferences import NO_PREFERENCES, Preferences
from recsys.query.profile import UNKNOWN, Profile
from recsys.store.erasure import Erasure


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """What the store knows about a person: empty for a stranger and after a refusal.

    `key` is that of the customer where a visitor has logged in. `history` is oldest first and
    holds the newest `limit` rows; impressions (`view_item_list`), `feedback` and `custom` events
    have limits of their own (`recsys.query.facts`), so that an impression never displaces an
    action, nor an action a refusal. `account` is what the other members of the person's account
    did.
    """

    key: str | None = None
    history: Sequence[StoredEvent] = ()
    profile: Profile = UNKNOWN
    consent: Consent | None = None
    """The latest consent on record; None where there is none."""
    preferences: Preferences = NO_PREFERENCES
    account: Sequence[StoredEvent] = ()
    assigned: str | None = None
    """The key that decides the person's variant: of a customer who came as a visitor that of the
    visitor, so that logging in changes no variant; fixed by the customer's first event."""


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One placement's answer as it was given, so that outcomes can be attributed to it."""

    recommendation_id: str
    time: float
    placement: str
    variant: str
    model_version: str
    item_ids: Sequence[str]
    """In the order shown: position 0 first."""
    sources: Sequence[str]
    levels: Sequence[str]
    scores: Sequence[float]
    propensities: Sequence[float]
    person: str | None = None
    """Person key; None without consent."""
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CatalogChanges:
    """Items put since a revision, and the revision that one has after taking them."""

    revision: int
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class ErasedUsers:
    """Whose stored rows must not be used any more: of the erased and of those who refuse.

    `revision` changes whenever `pseudonyms` may have.
    """

    revision: int
    pseudonyms: Pseudonyms


EXPORT_SECTIONS: Final = ("person", "history", "waiting", "answers")
"""The parts of what the store keeps about a person, in the order of an export."""


class EventStore(Protocol):
    """Received events and their way into the event log."""

    def append(
        self, events: Sequence[Event], *, received_at: datetime, lasting: bool = False
    ) -> list[bool]:
        """Stores the events in one transaction; True where stored, False for a duplicate id.

        Also repeats within the batch are duplicates. An event with consent records that consent;
        `identify` moves the visitor's history to the customer. The ids of `lasting` events are
        known for ever (an import may come again after years), the others until `prune`.
        """
        ...

    def waiting(self) -> list[Event]:
        """The events that are not in the event log yet, in the order of their arrival."""
        ...

    def archive(self, log: EventLog) -> int:
        """Copies events not yet archived into the log, each exactly once; gives their number.

        Safe to be killed at any moment: the next call finishes what was begun.
        """
        ...

    def clear_log(self, log: EventLog, *, at: datetime) -> int:
        """Removes the rows of everybody erased since the last time from the log; their number."""
        ...


class PeopleStore(Protocol):
    """What is known about persons: history, profile, preferences and consent."""

    def person(
        self, person: Person, *, limit: int = HISTORY_LIMIT, account_id: str | None = None
    ) -> KnownPerson:
        """One read of all that an answer needs about a person; `account_id` names the account,
        None means that of the profile.

        With both ids, the visitor's own rows are joined to the customer's for this answer.
        Without consent on record the history is there (see `KnownPerson.consent`): whether it may
        be used is decided by the caller together with what the request says.
        """
        ...

    def put_profiles(self, profiles: Sequence[Profile], *, received_at: datetime) -> None:
        """Declares profiles; a field that a profile leaves out keeps its value."""
        ...

    def put_preferences(
        self, preferences: Sequence[Preferences], *, received_at: datetime
    ) -> list[bool]:
        """Stores preferences; False where nothing may be kept, since consent is missing.

        Switching personalisation off always works, and holds until the person switches it on.
        """
        ...

    def preferences(self, person: Person) -> Preferences:
        """What the person has asked for, the switch and the consent on record among it."""
        ...

    def profiles(self) -> dict[str, Profile]:
        """Person key → profile, interests among its traits, of everybody who has not refused."""
        ...

    def all_preferences(self) -> dict[str, Preferences]:
        """Person key → order, interests and exclusions, of everybody who has any and has not
        refused."""
        ...

    def denied(self) -> set[str]:
        """Keys of persons whose latest consent refuses personalisation."""
        ...

    def unmeasured(self) -> set[str]:
        """Keys of persons whose latest consent does not allow analytics."""
        ...

    def visitors(self, person: Person) -> list[Person]:
        """The person as the event log may name them: the customer, and each of their visitors."""
        ...

    def export(self, person: Person, *, section: str, offset: int, limit: int) -> list[Any]:
        """A page of one of EXPORT_SECTIONS, oldest first: all that is kept about the person,
        whatever their consent."""
        ...

    def erase(
        self, person: Person, *, receipt: str, at: datetime, rejected_lines: int = 0
    ) -> Erasure:
        """Removes everything that is tied to a person, the visitors who logged in as them
        included, and leaves no copy in the store's files. The event log is cleared by `clear_log`.

        What happened before and arrives later is nobody's. Erasing somebody of whom nothing is
        left gives the receipt of the last time.
        """
        ...

    def erased_users(self, *, since: int = -1) -> ErasedUsers | None:
        """Whose stored rows must not be used; None where that is as at revision `since`."""
        ...


class CatalogStore(Protocol):
    """The live catalogue."""

    def put_items(self, items: Sequence[Item], *, received_at: datetime) -> int:
        """Replaces or adds catalogue items in one transaction; gives the new revision."""
        ...

    def put_stock(
        self, changes: Sequence[ItemChange], *, known: Mapping[str, Item], received_at: datetime
    ) -> list[bool]:
        """Changes stock and prices of items in one transaction, each as it is then.

        True where the item is there; one that is not is taken from `known` (what is served of
        it), and where it is not in there either, nothing is stored of it.
        """
        ...

    def items(self) -> list[Item]:
        """The whole catalogue as it is now."""
        ...

    def catalog_changes(self, *, since: int) -> CatalogChanges:
        """Items put after revision `since`; 0 gives all."""
        ...


class AnswerStore(Protocol):
    """The answers that were given, for the attribution of what followed."""

    def log_answers(self, answers: Sequence[LoggedAnswer]) -> None:
        """Appends answers; need not be synced to disk."""
        ...

    def answers(self, *, since: datetime, until: datetime) -> list[LoggedAnswer]:
        """The answers given in [since, until), oldest first."""
        ...

    def each_answer(self, *, since: datetime, until: datetime) -> Iterator[LoggedAnswer]:
        """The same, read part by part, so that they need not all lie in memory."""
        ...

    def count_answers(self, *, since: datetime, until: datetime, at_most: int) -> int:
        """How many there are in [since, until); not counted beyond `at_most`."""
        ...


class Store(EventStore, PeopleStore, CatalogStore, AnswerStore, Protocol):
    """All four in one.

    Durable on return: what a call has acknowledged survives a power cut. Every method raises
    StoreUnavailable where the store is locked for longer than its time-out, full or gone. One
    object may be used by several threads.
    """

    def prune(self, *, event_ids_before: datetime, answers_before: datetime) -> tuple[int, int]:
        """Forgets ids of events received, and answers given, before these moments; how many.

        In small bites, so that nobody waits for it.
        """
        ...

    def close(self) -> None:
        """Releases the connections; the object cannot be used afterwards."""
        ...
