"""Events of any table by a column mapping, and the catalogue that its rows describe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from recsys.catalog.items import parse_item
from recsys.errors import InvalidConfig, InvalidInput
from recsys.events.schema import Event, anonymised, parse_event
from training.datasets.findings import Finding, FoundEvent, FoundItem, KeptOut, Rejected
from training.datasets.formats.mapping import (
    CatalogColumns,
    ColumnMapping,
    EventColumns,
    KindColumn,
)
from training.datasets.reading import FileRow, TableFile, Unreadable

Cells = Mapping[str, object]

ID_DIGITS: Final = 32
"""128 bits of SHA-256: among 10¹² events a collision has probability 10⁻¹⁵."""


def read_mapped(table: TableFile, mapping: ColumnMapping) -> Iterator[Finding]:
    """Every row as an event, then the catalogue; the newest cell of an item wins.

    InvalidConfig where the mapping names a column that the file does not have.
    """
    _check_columns(table, mapping)
    described: dict[str, dict[str, object]] = {}
    for row in table:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        try:
            kind = _kind(row, mapping.events.kind)
            if kind == "ignore":
                yield KeptOut("event kind to ignore")
                continue
            event = _event(row, kind, mapping)
            item = _item(row, mapping)
        except InvalidInput as error:
            yield Rejected.of(row, error)
            continue
        if item:
            described.setdefault(str(item["item_id"]), {}).update(item)
        yield FoundEvent(row.line, event)
    for item in described.values():
        yield FoundItem(parse_item(item), declared=False)


def _check_columns(table: TableFile, mapping: ColumnMapping) -> None:
    if table.layout == "jsonl":
        raise InvalidConfig("mapping", table.path.name, "a column mapping is for CSV and Parquet")
    for key, column in mapping.columns().items():
        if column not in table.columns:
            there = ", ".join(table.columns)
            raise InvalidConfig(f"mapping {key}", column, f"{table.path.name} has only: {there}")


def _kind(row: FileRow, kind: KindColumn) -> str:
    if kind.always is not None:
        return kind.always
    column = kind.column or ""
    cell = str(_cells(row).get(column, ""))
    known = kind.values.get(cell)
    if known is None:
        raise InvalidInput(
            column, cell, "add the value to events.kind.values of the mapping, or map it to ignore"
        )
    return known


def _event(row: FileRow, kind: str, mapping: ColumnMapping) -> Event:
    cells, columns = _cells(row), mapping.events
    fields: dict[str, object] = {
        "event_id": _id(cells, columns.event_id) or _made_id(row),
        "event": kind,
        "timestamp": columns.timestamp.parse(cells.get(columns.timestamp.column, "")),
        "user_id": _id(cells, columns.user_id),
        "anonymous_id": _id(cells, columns.anonymous_id),
        "session_id": _id(cells, columns.session_id),
        "account_id": _id(cells, columns.account_id),
        "transaction_id": _id(cells, columns.order_id),
        "search_term": _text(cells, columns.search_term),
        "rating": _number(cells, columns.rating),
        "currency": mapping.currency,
        "items": _event_items(cells, columns),
        "context": {
            "country": _text(cells, columns.country),
            "device": _text(cells, columns.device),
            "channel": _text(cells, columns.channel),
        },
    }
    if columns.consent is None:
        return parse_event(fields)
    answer = _text(cells, columns.consent.column)
    if answer is None:  # without an answer the event is anonymised and no consent recorded
        return anonymised(parse_event(fields))
    granted = answer in columns.consent.granted
    fields["consent"] = {"personalization": granted, "analytics": granted}
    return parse_event(fields)


def _event_items(cells: Cells, columns: EventColumns) -> list[dict[str, object]]:
    item_id = _id(cells, columns.item_id)
    if item_id is None:
        return []
    item: dict[str, object] = {"item_id": item_id, "price": _number(cells, columns.price)}
    quantity = _number(cells, columns.quantity)
    return [item if quantity is None else {**item, "quantity": quantity}]


def _item(row: FileRow, mapping: ColumnMapping) -> dict[str, object]:
    """The item's fields that the row fills in, checked; empty where it describes none."""
    cells = _cells(row)
    item_id = _id(cells, mapping.events.item_id)
    if mapping.catalog is None or item_id is None:
        return {}
    fields = {"item_id": item_id, **_described(cells, mapping.catalog)}
    parse_item(fields)
    return fields


def _described(cells: Cells, columns: CatalogColumns) -> dict[str, object]:
    category = _text(cells, columns.category)
    fields: dict[str, object] = {
        "title": _text(cells, columns.title),
        "category": category and category.split(columns.category_separator),
        "brand": _text(cells, columns.brand),
        "price": _number(cells, columns.price),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _made_id(row: FileRow) -> str:
    """The same row on the same line always gives the same id; equal rows stay two events."""
    return hashlib.sha256(f"{row.line}\n{row.raw}".encode()).hexdigest()[:ID_DIGITS]


def _cells(row: FileRow) -> Cells:
    return row.content if isinstance(row.content, Mapping) else {}


def _id(cells: Cells, column: str | None) -> str | None:
    """The cell as text; 17850.0, which pandas makes of an integer column with gaps, as 17850."""
    cell = cells.get(column) if column is not None else None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return None if cell is None else str(cell)


def _text(cells: Cells, column: str | None) -> str | None:
    cell = cells.get(column) if column is not None else None
    return None if cell is None else str(cell)


def _number(cells: Cells, column: str | None) -> float | None:
    text = _text(cells, column)
    if text is None or column is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(column, text, "write a number with a decimal point") from error
