"""Flat rows of canonical events, items and profiles as the nested objects that they mean.

The columns of a CSV or Parquet file, or of a frame: a column `context.country` (or `country`) is a
field of a field, a cell of `items`, `context`, `consent`, `attributes` or `traits` may be JSON,
`category` may be a path (`Home > Kitchen`), and `item_id`, `quantity`, `price` and `index` describe
the only item of an event. A text is converted to the type of its field; what cannot be converted
stays, so that `parse_event`, `parse_item` or `parse_profile` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from recsys.errors import InvalidInput
from recsys.events.schema import CATEGORY_SEPARATOR

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


def event_fields(cells: Mapping[str, object]) -> dict[str, object]:
    """The fields of the event in a flat row."""
    row = _nested(cells)
    event = {name: cell for name, cell in row.items() if name not in _OF_CONTEXT + _OF_ONE_ITEM}
    item = {name: row[name] for name in _OF_ONE_ITEM if name in row}
    context = {name: row[name] for name in _OF_CONTEXT if name in row}
    if item:
        event.setdefault("items", [item])
    if context:
        named = event.get("context", {})
        event["context"] = {**named, **context} if isinstance(named, dict) else named
    return event


def item_fields(cells: Mapping[str, object]) -> dict[str, object]:
    """The fields of the catalogue item in a flat row."""
    row = _nested(cells)
    category = row.get("category")
    if isinstance(category, str) and not category.startswith("["):
        return {**row, "category": category.split(CATEGORY_SEPARATOR)}
    if isinstance(category, str):
        return {**row, "category": _json("category", category)}
    return row


def profile_fields(cells: Mapping[str, object]) -> dict[str, object]:
    """The fields of the profile in a flat row."""
    return _nested(cells)


def _nested(cells: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for column, cell in cells.items():
        outer, dot, inner = column.partition(".")
        if dot and outer in _NESTED:
            fields = nested.setdefault(outer, {})
            if isinstance(fields, dict):
                fields[inner] = _typed(inner, cell)
        else:
            nested[column] = _typed(column, cell)
    return nested


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
