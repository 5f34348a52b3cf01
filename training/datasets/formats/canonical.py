"""Canonical events, items and profiles: one JSON object per line, or one row per object.

A CSV or Parquet row is the same object laid flat: a column `context.country` (or `country`)
is a field of a field, a cell of `items`, `context`, `consent`, `attributes` or `traits` may be
JSON, `category` may be a path (`Home > Kitchen`), and `item_id`, `quantity`, `price` and `index`
describe the only item of an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from recsys.catalog.items import parse_item
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
from training.datasets.reading import Row, TableFile, Unreadable

CanonicalKind = Literal["events", "items", "profiles"]

Content = bytes | Mapping[str, object]

CATEGORY_SEPARATOR: Final = " > "


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


def _event(row: Row) -> Finding:
    return FoundEvent(row.line, parse_event(_unfolded(row.content, _unfold_event)))


def _item(row: Row) -> Finding:
    return FoundItem(parse_item(_unfolded(row.content, _unfold_item)))


def _profile(row: Row) -> Finding:
    return FoundProfile(row.line, parse_profile(_unfolded(row.content, dict)))


_PARSERS: Final[Mapping[CanonicalKind, Callable[[Row], Finding]]] = {
    "events": _event,
    "items": _item,
    "profiles": _profile,
}

_IDS: Final = frozenset(
    {
        "event_id",
        "user_id",
        "anonymous_id",
        "session_id",
        "account_id",
        "recommendation_id",
        "transaction_id",
        "item_id",
        "variant_of",
    }
)
_NUMBERS: Final = frozenset({"quantity", "price", "rating", "stock"})
_WHOLE_NUMBERS: Final = frozenset({"index", "hour"})
_TRUTHS: Final = frozenset({"withdrawn", "personalization", "analytics"})
_NESTED: Final = frozenset({"items", "context", "consent", "attributes", "traits"})
_OF_CONTEXT: Final = ("channel", "device", "country", "hour", "referrer")
_OF_ONE_ITEM: Final = ("item_id", "quantity", "price", "index")


def _unfolded(
    content: Content, unfold: Callable[[dict[str, object]], dict[str, object]]
) -> Content:
    """JSON text as it is; a flat row as the object that it means."""
    if isinstance(content, bytes):
        return content
    nested: dict[str, object] = {}
    for column, cell in content.items():
        outer, dot, inner = column.partition(".")
        if dot and outer in _NESTED:
            fields = nested.setdefault(outer, {})
            if isinstance(fields, dict):
                fields[inner] = _typed(inner, cell)
        else:
            nested[column] = _typed(column, cell)
    return unfold(nested)


def _unfold_event(row: dict[str, object]) -> dict[str, object]:
    event = {name: cell for name, cell in row.items() if name not in _OF_CONTEXT + _OF_ONE_ITEM}
    item = {name: row[name] for name in _OF_ONE_ITEM if name in row}
    context = {name: row[name] for name in _OF_CONTEXT if name in row}
    if item:
        event.setdefault("items", [item])
    if context:
        named = event.get("context", {})
        event["context"] = {**named, **context} if isinstance(named, dict) else named
    return event


def _unfold_item(row: dict[str, object]) -> dict[str, object]:
    category = row.get("category")
    if isinstance(category, str) and not category.startswith("["):
        row = {**row, "category": category.split(CATEGORY_SEPARATOR)}
    elif isinstance(category, str):
        row = {**row, "category": _json("category", category)}
    return row


def _typed(name: str, cell: object) -> object:
    """The cell in the type of its field; what cannot be converted stays, for the parser to name."""
    if name in _IDS and isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, dict | list):
        return _without_nulls(cell)
    if not isinstance(cell, str):
        return cell
    if name in _NESTED:
        return _json(name, cell)
    try:
        if name in _NUMBERS:
            return float(cell)
        if name in _WHOLE_NUMBERS:
            return int(cell)
    except ValueError:
        return cell
    if name in _TRUTHS:
        return {"true": True, "1": True, "false": False, "0": False}.get(cell.lower(), cell)
    return cell


def _without_nulls(value: object) -> object:
    """Parquet gives every field of a struct, null where the writer left it out."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _json(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInput(name, text, f"write it as JSON ({error})") from error
