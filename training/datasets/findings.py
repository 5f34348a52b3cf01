"""The findings of a source: events, items, profiles, and lines that are rejected or left out."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.events.schema import Event
from recsys.query.profile import Profile
from training.datasets.reading import FileRow, Unreadable


@dataclass(frozen=True, slots=True)
class Rejected:
    """Lines that break a rule, with the reason and what to send instead."""

    line: int
    reason: str
    raw: str
    lines: int = 1

    @classmethod
    def of(cls, row: FileRow, error: InvalidInput) -> Rejected:
        """The row, with the error's field, value and remedy as the reason."""
        return cls(row.line, str(error), row.raw)

    @classmethod
    def unreadable(cls, row: Unreadable) -> Rejected:
        """Lines that could not be parsed into a row."""
        return cls(row.line, row.reason, row.raw, row.lines)


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Valid lines that are not imported, such as postage; counted by reason."""

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
