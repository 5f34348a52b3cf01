"""The checked window of the event log, as SQL views."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import duckdb

from recsys.events.checks.thresholds import Check, CheckRules, Status
from recsys.events.log import SCHEMA, EventLog

WINDOW_SQL = """
CREATE VIEW every_row AS
    -- Without a zone: a session's own time zone must not move a day.
    SELECT *, make_timestamp(epoch_us(timestamp)) AS utc FROM stored;
CREATE VIEW log AS
    SELECT *, coalesce('customer ' || user_id, 'visitor ' || anonymous_id) AS person
    FROM every_row WHERE timestamp >= {since} AND timestamp < {until};
CREATE TABLE catalog_ids (item_id VARCHAR);
"""


class Window:
    """The view `log` over [since, as_of) and the view `every_row` behind one connection.

    An event with several items is several rows; its first row stands at position 0. `utc` is the
    time without a zone; `person` is the key of a customer or a visitor, NULL where none.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        as_of: datetime,
        since: datetime,
        rules: CheckRules,
    ) -> None:
        self._connection = connection
        self.as_of = as_of
        self.since = since
        self.rules = rules
        self.rows = self.number("SELECT count(*) FROM log")
        self.events = self.number("SELECT count(*) FROM log WHERE position = 0")

    def numbers(self, sql: str) -> tuple[float, ...]:
        """The numbers in the first row; 0 where it has NULL."""
        row = self._connection.execute(sql).fetchone() or ()
        return tuple(float(value or 0) for value in row)

    def number(self, sql: str) -> int:
        """The one number that the query gives; 0 for NULL."""
        return int(self.numbers(sql)[0])

    def judged(
        self, name: str, share: float, message: str, limits: tuple[float, float], examples: str
    ) -> Check:
        """WARN above the first limit, FAIL above the second, with examples where not PASS.

        `examples` is SQL whose first column is text.
        """
        warn, fail = limits
        status = Status.FAIL if share > fail else Status.WARN if share > warn else Status.PASS
        return Check(name, status, message, self.examples(examples) if status else ())

    def examples(self, sql: str) -> tuple[str, ...]:
        """The first column of the first rows, as text."""
        rows = self._connection.execute(f"{sql} LIMIT {self.rules.examples}").fetchall()
        return tuple(str(row[0]) for row in rows)


@contextmanager
def open_window(
    log: EventLog,
    *,
    catalog_ids: Collection[str],
    as_of: datetime,
    since: datetime,
    rules: CheckRules,
) -> Iterator[Window]:
    """The window, with `catalog_ids` as a table beside it; closed on leaving."""
    with duckdb.connect() as connection:
        files = [str(path) for path in log.files()]
        if files:
            connection.read_parquet(files, hive_partitioning=False, union_by_name=True).create_view(
                "stored"
            )
        else:
            connection.register("stored", SCHEMA.empty_table())
        connection.execute(WINDOW_SQL.format(since=moment(since), until=moment(as_of)))
        connection.execute(
            "INSERT INTO catalog_ids SELECT unnest(?::VARCHAR[])", [sorted(set(catalog_ids))]
        )
        yield Window(connection, as_of=as_of, since=since, rules=rules)


def moment(time: date) -> str:
    """A moment, or midnight UTC of a day, as a SQL expression."""
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    return f"to_timestamp({time.timestamp()!r}::DOUBLE)"


def share_of(part: float, whole: float) -> float:
    """part / whole; 0 of nothing is 0."""
    return part / whole if whole else 0.0
