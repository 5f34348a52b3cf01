"""The event log: Parquet partitions by day, one row per item of an event. Training reads only this.

<root>/date=2026-11-21/<part>.parquet
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.atomic_files import atomic_path
from recsys.events.pseudonyms import Pseudonyms, pseudonyms_of
from recsys.events.schema import CATEGORY_SEPARATOR, Event, EventItem, Person
from recsys.ids import USER_PREFIX, VISITOR_PREFIX

SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("position", pa.int32()),
        ("kind", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("user_id", pa.string()),
        ("anonymous_id", pa.string()),
        ("session_id", pa.string()),
        ("account_id", pa.string()),
        ("item_id", pa.string()),
        ("quantity", pa.float64()),
        ("price", pa.float64()),
        ("list_index", pa.int32()),
        ("currency", pa.string()),
        ("search_term", pa.string()),
        ("recommendation_id", pa.string()),
        ("transaction_id", pa.string()),
        ("rating", pa.float64()),
        ("action", pa.string()),
        ("name", pa.string()),
        ("country", pa.string()),
        ("channel", pa.string()),
        ("device", pa.string()),
        ("referrer", pa.string()),
        ("brand", pa.string()),
        ("category", pa.string()),
        ("days", pa.float64()),
    ]
)
"""One row per item of an event (`position` from 0); an event without items is one row without.

The last three columns are what feedback was about beside items; older files lack them.
"""


ITEM_FIELDS: Final = {
    "item_id": "item_id", "quantity": "quantity", "price": "price", "list_index": "index",
}  # fmt: skip
"""Column → field of EventItem."""
NO_ITEM: Final[Sequence[EventItem | None]] = (None,)
CONTEXT_FIELDS: Final = frozenset({"country", "channel", "device", "referrer"})


def rows(events: Iterable[Event]) -> pa.Table:
    """The events as a table of SCHEMA."""
    all_events = list(events)
    items = [item for event in all_events for item in event.items or NO_ITEM]
    counts = np.array([max(len(event.items), 1) for event in all_events], np.int64)
    first_rows = np.cumsum(counts) - counts
    columns: dict[str, pa.Array] = {
        "position": pa.array(np.arange(len(items)) - np.repeat(first_rows, counts), pa.int32())
    }
    for name, field in ITEM_FIELDS.items():
        of_items = [None if item is None else getattr(item, field) for item in items]
        columns[name] = pa.array(of_items, SCHEMA.field(name).type)
    # Fields of the event are converted once and repeated for each of its rows.
    row_event = pa.array(np.repeat(np.arange(len(all_events)), counts))
    for name in SCHEMA.names:
        if name in columns:
            continue
        values: list[object]
        if name == "kind":
            values = [event.event for event in all_events]
        elif name in CONTEXT_FIELDS:
            values = [event.context and getattr(event.context, name) for event in all_events]
        elif name == "category":
            values = [
                event.category and CATEGORY_SEPARATOR.join(event.category) for event in all_events
            ]
        else:
            values = [getattr(event, name) for event in all_events]
        columns[name] = pa.array(values, SCHEMA.field(name).type).take(row_event)
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


# DuckDB reads only the matching row groups and needs no pandas: a request waits for the result.
ROWS_OF_SQL: Final = """
SELECT * REPLACE (epoch_us(timestamp) AS timestamp)
FROM read_parquet(?, hive_partitioning = false, file_row_number = true)
WHERE list_contains(?::VARCHAR[], user_id)
    OR (user_id IS NULL AND list_contains(?::VARCHAR[], anonymous_id))
ORDER BY file_row_number LIMIT ? OFFSET ?
"""

LogPosition = tuple[int, int]
"""The number of a file, and how many of a person's rows in it were read."""
START: Final[LogPosition] = (0, 0)


class EventLog:
    """The log below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, table: pa.Table, *, part: str) -> None:
        """Writes the rows, a file per day, durably; the same `part` again replaces its files.

        So a writer that was killed half-way repeats its part and leaves no row twice.
        """
        days = table["timestamp"].cast(pa.date32())
        for day in sorted(days.unique().to_pylist()):
            folder = self.root / f"date={day}"
            folder.mkdir(parents=True, exist_ok=True)
            _write_durably(table.filter(pc.equal(days, day)), folder / f"{part}.parquet")

    def files(self, *, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
        """The files of the days that touch [since, until), sorted."""
        first = since.astimezone(UTC).date() if since else date.min
        last = until.astimezone(UTC).date() if until else date.max
        return [
            path
            for path in sorted(self.root.glob("date=*/*.parquet"))
            if first <= date.fromisoformat(path.parent.name.removeprefix("date=")) <= last
        ]

    def erase(self, users: Sequence[Pseudonyms]) -> list[int]:
        """Removes the rows of each set of persons (`recsys.events.pseudonyms`) from all files.

        Gives the number of removed rows for each set. A row belongs to its customer, or to its
        visitor where it names no customer.
        """
        if not sum(map(len, users)):
            return [0] * len(users)
        sets = np.concatenate([np.full(len(codes), n) for n, codes in enumerate(users)])
        wanted = np.concatenate(users)
        order = np.argsort(wanted, kind="stable")
        wanted, sets = wanted[order], sets[order]
        erased = np.zeros(len(users), np.int64)
        for path in self.files():
            keys, key_of_row = _persons(pq.read_table(path, columns=["user_id", "anonymous_id"]))
            codes = pseudonyms_of(keys)
            nearest = np.minimum(np.searchsorted(wanted, codes), len(wanted) - 1)
            set_of_row = np.where(wanted[nearest] == codes, sets[nearest], -1)[key_of_row]
            if (set_of_row >= 0).any():
                erased += np.bincount(set_of_row[set_of_row >= 0], minlength=len(users))
                table = pq.read_table(path, schema=SCHEMA)
                _write_durably(table.filter(pa.array(set_of_row < 0)), path)
        return erased.tolist()

    def rows_of(
        self,
        persons: Sequence[Person],
        *,
        since: LogPosition = START,
        limit: int,
        most_files: int = 30,
    ) -> tuple[list[dict[str, Any]], LogPosition | None]:
        """At most `limit` rows of these persons, oldest day first, without empty values.

        Reads at most `most_files` files; gives the position to continue from, None at the end.
        """
        users = [person.user_id for person in persons if person.user_id is not None]
        visitors = [person.anonymous_id for person in persons if person.user_id is None]
        files = self.files()
        records: list[dict[str, Any]] = []
        number, offset = since
        with duckdb.connect(config={"threads": 1}) as connection:
            for path in files[number : number + most_files]:
                asked = limit - len(records)
                # One row more than fits shows that the file has another page.
                values = [str(path), users, visitors, asked + 1, offset]
                rows_here = connection.execute(ROWS_OF_SQL, values).fetchall()
                names = [column[0] for column in connection.description or ()]
                records += [_values(names, row) for row in rows_here[:asked]]
                if len(rows_here) > asked:
                    return records, (number, offset + asked)
                number, offset = number + 1, 0
        return records, (number, 0) if number < len(files) else None


def _values(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """The values of a row that are not null, by column."""
    values = {name: value for name, value in zip(names, row, strict=True) if value is not None}
    del values["file_row_number"]
    return {**values, "timestamp": datetime.fromtimestamp(values["timestamp"] / 1e6, UTC)}


def _persons(table: pa.Table) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct person keys, and for each row the index of its key; the empty key is nobody's."""
    users = pc.binary_join_element_wise(USER_PREFIX, table["user_id"], "")
    visitors = pc.binary_join_element_wise(VISITOR_PREFIX, table["anonymous_id"], "")
    keys = pc.fill_null(pc.coalesce(users, visitors), "")
    encoded = pa.concat_arrays(keys.chunks).dictionary_encode() if keys.num_chunks else keys
    if not len(encoded):
        return [], np.empty(0, np.int64)
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, np.int64)


def _write_durably(table: pa.Table, path: Path) -> None:
    with atomic_path(path) as draft:
        pq.write_table(table, draft, compression="zstd")
