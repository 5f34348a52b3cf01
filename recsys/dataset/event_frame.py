"""A frame of events (pandas or pyarrow) as rows of the event log, its columns and values checked.

One row per item of an event; rows with the same `event_id` are one event, its items in the order of
the rows. Nested columns as canonical files have them (`items`, `context`, `consent`) are laid flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys.dataset.frames import Frame, as_table, check_columns
from recsys.errors import InvalidInput
from recsys.events.log import SCHEMA
from recsys.events.schema import CATEGORY_SEPARATOR, EVENT_KINDS, NEEDS_ITEMS

EVENT_COLUMNS: Final[Mapping[str, str]] = {
    "event": "what was done: view_item, add_to_cart, purchase, … (required)",
    "timestamp": "when, with a zone (required)",
    "user_id": "the customer; this or anonymous_id is required",
    "anonymous_id": "the visitor, before or without a login",
    "item_id": "the item (required)",
    "event_id": "groups the rows of one event; a row without the column is an event of its own",
    "transaction_id": "the order: what was bought together",
    "session_id": "the visit; without it a silence of 30 minutes ends one",
    "quantity": "pieces, 1 where missing",
    "price": "of one piece, in the shop's currency",
    "index": "position in the list that was shown, from 0",
    "search_term": "what was searched for, of search and view_item_list",
    "rating": "0 to 100, of rate",
    "account_id": "the company or household that the customer belongs to",
    "country": "where the event happened",
    "channel": "web, app, …",
    "device": "mobile, desktop, …",
    "referrer": "where the visitor came from",
    "currency": "three capital letters",
    "recommendation_id": "the answer that led to the event",
    "name": "of a custom event",
    "action": "of feedback: like, not_interested, …",
    "brand": "what feedback is about, beside an item",
    "category": "what feedback is about, beside an item: a path, Home > Kitchen",
    "days": "how long a snooze lasts",
    "personalization": "whether the row may be tied to the person; yes without the column",
}
"""Column → meaning. Required are `event`, `timestamp`, `item_id` and one of the two person ids."""

_LOG_NAME: Final = {"event": "kind", "index": "list_index"}
_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "quantity": (0.0, 1e6),
    "price": (0.0, 1e9),
    "rating": (0.0, 100.0),
    "days": (0.0, 3650.0),
    "index": (0, 100_000),
}
_REMOVED_WITHOUT_CONSENT: Final = (
    "user_id",
    "anonymous_id",
    "session_id",
    "account_id",
    "search_term",
    "recommendation_id",
    "transaction_id",
    "country",
    "channel",
    "device",
    "referrer",
)
_NESTED: Final = ("context", "consent")
_IGNORED: Final = frozenset({"analytics", "hour", "values"})
"""Fields of canonical events that no model reads."""


def event_table(events: Frame) -> pa.Table:
    """The events as a table of the event log's SCHEMA, in the order of the rows.

    InvalidInput names the column, the first value that breaks a rule, and the remedy.
    """
    table = _flat(as_table(events, "events"))
    check_columns(
        "events", table.column_names, EVENT_COLUMNS, required=("event", "timestamp", "item_id")
    )
    if not {"user_id", "anonymous_id"} & set(table.column_names):
        raise InvalidInput(
            "events columns", table.column_names, "one of user_id and anonymous_id is required"
        )
    columns = {name: _checked(name, table[name]) for name in table.column_names}
    _check_kinds(columns["event"], columns["item_id"])
    columns = _without_refused(columns)
    length = table.num_rows
    if "event_id" not in columns:
        columns["event_id"] = pa.chunked_array(
            [[f"row-{row}" for row in range(length)]], pa.string()
        )
    if "quantity" not in columns:
        columns["quantity"] = pa.nulls(length, pa.float64())
    columns["quantity"] = pc.if_else(
        pc.is_valid(columns["item_id"]), pc.fill_null(columns["quantity"], 1.0), None
    )
    columns["position"] = _positions(columns["event_id"])
    by_log_name = {_LOG_NAME.get(name, name): column for name, column in columns.items()}
    return pa.table(
        [
            by_log_name[field.name].cast(field.type)
            if field.name in by_log_name
            else pa.nulls(length, field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def after_newest(table: pa.Table) -> datetime:
    """The moment just after the newest event of a table of SCHEMA: the "now" of its data."""
    newest = pc.max(table["timestamp"]).as_py()
    if newest is None:
        raise InvalidInput("events", "no rows", "give at least one event")
    moment: datetime = newest.astimezone(UTC) + timedelta(seconds=1)
    return moment


def _flat(table: pa.Table) -> pa.Table:
    """Nested columns as flat ones: `context.country` as country, one row per entry of `items`."""
    if "items" in table.column_names and pa.types.is_list(table.schema.field("items").type):
        table = _one_row_per_item(table)
    for outer in _NESTED:
        if outer in table.column_names and pa.types.is_struct(table.schema.field(outer).type):
            table = _spread(table, outer)
    names = [name.partition(".")[2] or name for name in table.column_names]
    table = table.rename_columns(names)
    return table.select([name for name in names if name not in _IGNORED])


def _one_row_per_item(table: pa.Table) -> pa.Table:
    """Each entry of `items` as a row with its fields as columns; events without items stay."""
    lists = table["items"].combine_chunks()
    counts = np.nan_to_num(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    counts = counts.astype(np.int64)
    rows = np.repeat(np.arange(len(counts)), np.maximum(counts, 1))
    entries = np.full(len(rows), -1, np.int64)
    entries[counts[rows] > 0] = np.arange(int(counts.sum()))
    taken = pc.list_flatten(lists).take(pa.array(entries, mask=entries < 0))
    whole = table.drop_columns(["items"]).take(pa.array(rows))
    if "event_id" not in whole.column_names:
        whole = whole.append_column("event_id", pa.array([f"row-{row}" for row in rows]))
    return _spread(whole.append_column("items", taken), "items")


def _spread(table: pa.Table, outer: str) -> pa.Table:
    fields = table.schema.field(outer).type
    struct = table[outer]
    table = table.drop_columns([outer])
    for index in range(fields.num_fields):
        name = fields.field(index).name
        table = table.append_column(name, pc.struct_field(struct, [index]))
    return table


def _checked(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if name == "timestamp":
        return _times(column)
    if name in _NUMBERS:
        return _numbers(name, column)
    if name == "personalization":
        if not pa.types.is_boolean(column.type):
            raise _wrong_type(name, column, "give true or false")
        return column
    if name == "category" and pa.types.is_list(column.type):
        return pc.binary_join(column.cast(pa.list_(pa.string())), CATEGORY_SEPARATOR)
    return _texts(name, column)


def _texts(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text; whole numbers are read as text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        raise _wrong_type(
            name, column, f'make it text: events["{name}"].astype("Int64").astype("string")'
        )
    if not _is_text(column.type) and not pa.types.is_integer(column.type):
        if pa.types.is_null(column.type):
            return column.cast(pa.string())
        raise _wrong_type(name, column, "give text or whole numbers")
    texts = column.cast(pa.string())
    limit = 128 if name.endswith("_id") else 512
    _refuse(
        name,
        texts,
        pc.or_(
            pc.greater(pc.utf8_length(texts), limit),
            pc.match_substring_regex(texts, r"[\x00-\x1f\x7f]"),
        ),
        f"use at most {limit} characters, none of them a control character",
    )
    if name in ("user_id", "anonymous_id", "item_id", "event_id"):
        _refuse(name, texts, pc.equal(texts, ""), "leave it empty (null) where it is unknown")
    if name == "event_id" and texts.null_count:
        raise InvalidInput("events column 'event_id'", None, "give every row an id")
    return texts


def _numbers(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return column.cast(pa.float64())
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise _wrong_type(name, column, f'make it numbers: events["{name}"].astype(float)')
    low, high = _NUMBERS[name]
    values = column.cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), None, values)
    outside = pc.or_(pc.less(values, low), pc.greater(values, high))
    if name in ("quantity", "days"):
        outside = pc.or_(outside, pc.equal(values, 0.0))
    _refuse(name, values, outside, f"use a number from {low:g} to {high:g}")
    return values


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_text(column.type):
        try:
            column = pc.cast(column, pa.timestamp("us", tz="UTC"))
        except pa.ArrowInvalid as error:
            raise InvalidInput(
                "events column 'timestamp'",
                column[0].as_py(),
                f"send RFC 3339 times with a zone, such as 2026-11-21T20:15:00Z ({error})",
            ) from error
    if not pa.types.is_timestamp(column.type):
        raise _wrong_type(
            "timestamp", column, 'make it times: pandas.to_datetime(events["timestamp"], utc=True)'
        )
    if column.type.tz is None:
        raise _wrong_type(
            "timestamp", column, 'say the zone: events["timestamp"].dt.tz_localize("UTC")'
        )
    if column.null_count:
        raise InvalidInput("events column 'timestamp'", None, "give every event its time")
    return column.cast(pa.timestamp("us", tz="UTC"), safe=False)


def _check_kinds(kinds: pa.ChunkedArray, items: pa.ChunkedArray) -> None:
    known = pc.is_in(kinds, pa.array(EVENT_KINDS))
    _refuse("event", kinds, pc.invert(known), f"use one of {', '.join(EVENT_KINDS)}")
    itemless = pc.and_(pc.is_in(kinds, pa.array(sorted(NEEDS_ITEMS))), pc.is_null(items))
    where = pc.index(itemless, True).as_py()
    if where >= 0:
        raise InvalidInput(
            "events column 'item_id'",
            None,
            f"row {where} is a {kinds[where].as_py()} event, which names an item",
        )


def _without_refused(columns: dict[str, Any]) -> dict[str, Any]:
    """Rows without consent keep nothing that is tied to a person."""
    consent = columns.pop("personalization", None)
    if consent is None:
        return columns
    agreed = pc.fill_null(consent, False)
    return {
        name: pc.if_else(agreed, column, None) if name in _REMOVED_WITHOUT_CONSENT else column
        for name, column in columns.items()
    }


def _positions(event_ids: pa.ChunkedArray) -> pa.Array:
    """The position of each row among those of its event, from 0."""
    ids = pd.Series(event_ids.to_numpy())
    return pa.array(ids.groupby(ids).cumcount().to_numpy(), pa.int32())


def _refuse(name: str, column: pa.ChunkedArray, bad: pa.ChunkedArray, remedy: str) -> None:
    row = pc.index(pc.fill_null(bad, False), True).as_py()
    if row >= 0:
        raise InvalidInput(f"events column {name!r} of row {row}", column[row].as_py(), remedy)


def _wrong_type(name: str, column: pa.ChunkedArray, remedy: str) -> InvalidInput:
    return InvalidInput(f"events column {name!r}", f"of type {column.type}", remedy)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
