"""What a source finds in a file: events, items, profiles, and lines that it sets aside."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.events.schema import Event
from recsys.query.profile import Profile
from training.datasets.reading import Row, Unreadable


@dataclass(frozen=True, slots=True)
class Rejected:
    """Lines that break a rule; they are kept aside with the reason and what to send instead."""

    line: int
    reason: str
    raw: str
    lines: int = 1

    @classmethod
    def of(cls, row: Row, error: InvalidInput) -> Rejected:
        """The row, with the error's field, value and remedy as the reason."""
        return cls(row.line, str(error), row.raw)

    @classmethod
    def unreadable(cls, row: Unreadable) -> Rejected:
        """Lines of which not even a row could be made."""
        return cls(row.line, row.reason, row.raw, row.lines)


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Lines that are sound but do not belong in, such as postage; counted by reason."""

    reason: str
    lines: int = 1


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event and the line on which it begins."""

    line: int
    event: Event


@dataclass(frozen=True, slots=True)
class FoundItem:
    """An item of the catalogue.

    `declared` is False where it was gathered from events: then it never replaces what the shop
    has declared itself.
    """

    item: Item
    declared: bool = True


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A person's profile and its line; `declared` as for items."""

    line: int
    profile: Profile
    declared: bool = True


Finding = FoundEvent | FoundItem | FoundProfile | KeptOut | Rejected
