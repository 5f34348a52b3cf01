"""The event store: events, profiles, live catalogue and logged answers behind one protocol.

Training and serving meet here. Consent is enforced at this door, so that no caller can forget it:
an event without consent to personalisation is stored without anything tied to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import msgspec

from recsys.catalog import Item
from recsys.event_log import EventLog
from recsys.events import Consent, Event, Person
from recsys.profiles import UNKNOWN, Profile

LISTED_LIMIT: Final = 100
"""How many items of lists that were merely seen a history holds at most."""
FEEDBACK_LIMIT: Final = 1000
"""How many things said of items (`feedback`) a history holds at most."""


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of a person's history: an item and what was done with it.

    A struct, since an answer makes hundreds of them: a frozen dataclass takes six times as long.
    """

    item_id: str
    kind: str
    time: float
    """Epoch seconds."""
    session_id: str | None = None
    action: str | None = None
    """What a `feedback` event said of the item (`not_interested`, …)."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """What the store knows about a person: empty for a stranger and after a refusal.

    `key` is that of the customer where a visitor has logged in. `history` is oldest first and
    holds the newest `limit` rows; lists that were merely seen (`view_item_list`) and what was said
    of items (`feedback`) are counted apart, the newest LISTED_LIMIT and FEEDBACK_LIMIT of them, so
    that a list never pushes out what the person did, nor that a "no".
    """

    key: str | None = None
    history: Sequence[StoredEvent] = ()
    profile: Profile = UNKNOWN
    consent: Consent | None = None
    """The latest consent on record; None where there is none."""


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


class Store(Protocol):
    """Durable on return: what a call has acknowledged survives a power cut.

    Every method raises StoreUnavailable where the store is locked for longer than its time-out,
    full or gone. One object may be used by several threads.
    """

    def append(self, events: Sequence[Event], *, received_at: datetime) -> list[bool]:
        """Stores the events in one transaction; True where stored, False for a duplicate id.

        Also repeats within the batch are duplicates. An event with consent records that consent;
        `identify` moves the visitor's history to the customer.
        """
        ...

    def person(self, person: Person, *, limit: int = 500) -> KnownPerson:
        """One read of all that an answer needs about a person.

        With both ids, the visitor's own rows are joined to the customer's for this answer.
        Without consent on record the history is there (see `KnownPerson.consent`): whether it may
        be used is decided by the caller together with what the request says.
        """
        ...

    def put_profiles(self, profiles: Sequence[Profile], *, received_at: datetime) -> None:
        """Declares profiles; a field that a profile leaves out keeps its value."""
        ...

    def profiles(self) -> dict[str, Profile]:
        """Person key → profile, of everybody who has not refused."""
        ...

    def denied(self) -> set[str]:
        """Keys of persons whose latest consent refuses personalisation."""
        ...

    def put_items(self, items: Sequence[Item], *, received_at: datetime) -> int:
        """Replaces or adds catalogue items in one transaction; gives the new revision."""
        ...

    def items(self) -> list[Item]:
        """The whole catalogue as it is now."""
        ...

    def catalog_changes(self, *, since: int) -> CatalogChanges:
        """Items put after revision `since`; 0 gives all."""
        ...

    def log_answers(self, answers: Sequence[LoggedAnswer]) -> None:
        """Appends answers; need not be synced to disk."""
        ...

    def answers(self, *, since: datetime, until: datetime) -> list[LoggedAnswer]:
        """The answers given in [since, until), oldest first."""
        ...

    def archive(self, log: EventLog) -> int:
        """Copies events not yet archived into the log, each exactly once; gives their number.

        Safe to be killed at any moment: the next call finishes what was begun.
        """
        ...

    def close(self) -> None:
        """Releases the connections; the object cannot be used afterwards."""
        ...
