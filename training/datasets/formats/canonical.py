"""Canonical events, items and profiles: one JSON object per line, or one row per object.

A CSV or Parquet row is the same object laid flat (`recsys.dataset.flat_rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

from recsys.catalog.items import parse_item
from recsys.dataset.flat_rows import event_fields, item_fields, profile_fields
from recsys.errors import InvalidInput
from recsys.events.schema import parse_event
from recsys.query.profile import parse_profile
from training.datasets.findings import (
    Finding,
    FoundEvent,
    FoundItem,
    FoundProfile,
    Rejected,
)
from training.datasets.reading import FileRow, TableFile, Unreadable

CanonicalKind = Literal["events", "items", "profiles"]


def read_canonical(table: TableFile, kind: CanonicalKind) -> Iterator[Finding]:
    """Every row of the file as an event, item or profile; what breaks the schema as Rejected."""
    parse = _PARSERS[kind]
    for row in table:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        try:
            yield parse(row)
        except InvalidInput as error:
            yield Rejected.of(row, error)
        except RecursionError:
            deep = InvalidInput("row", row.raw, "the JSON is nested too deeply; send it flat")
            yield Rejected.of(row, deep)


def canonical_kind(columns: tuple[str, ...]) -> CanonicalKind | None:
    """What a file with these columns or keys holds; None where it is not canonical."""
    names = set(columns)
    if {"event_id", "event", "timestamp"} <= names:
        return "events"
    if "item_id" in names and not names & {"event", "timestamp", "user_id"}:
        return "items"
    if names & {"user_id", "anonymous_id"} and not names & {"event", "timestamp", "item_id"}:
        return "profiles"
    return None


def _event(row: FileRow) -> Finding:
    return FoundEvent(row.line, parse_event(_fields(row, event_fields)))


def _item(row: FileRow) -> Finding:
    return FoundItem(parse_item(_fields(row, item_fields)))


def _profile(row: FileRow) -> Finding:
    return FoundProfile(row.line, parse_profile(_fields(row, profile_fields)))


def _fields(
    row: FileRow, unfold: Callable[[Mapping[str, object]], dict[str, object]]
) -> bytes | Mapping[str, object]:
    """JSON text as it is; a flat row as the object that it means."""
    return row.content if isinstance(row.content, bytes) else unfold(row.content)


_PARSERS: Final[Mapping[CanonicalKind, Callable[[FileRow], Finding]]] = {
    "events": _event,
    "items": _item,
    "profiles": _profile,
}
