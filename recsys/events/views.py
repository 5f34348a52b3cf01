"""The event log as DuckDB views in which visitors are resolved to the customers who logged in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import duckdb
import pyarrow as pa

from recsys.events.log import SCHEMA, EventLog
from recsys.events.schema import EVENT_KINDS
from recsys.ids import USER_PREFIX, VISITOR_PREFIX

EventSource: TypeAlias = EventLog | pa.Table
"""Where events are read from: the log of a shop, or a table of its SCHEMA in memory."""


def open_log(
    source: EventSource,
    *,
    since: datetime,
    until: datetime,
    denied: Collection[str] = (),
    waiting: pa.Table | None = None,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views `log_rows`, `person_events` and `item_events` over
    [since, until).

    `person_events` are the rows of the log with two columns more: `person` (NULL where unknown or
    denied), resolved by the logins before `until`, and `basket`; `item_events` are those with an
    item. `waiting` are further rows of its schema, which may be in the log by now. Close it after
    use. `threads` are how many it may take; None for as many as there are cores. A table is read
    as it is: one row per item of an event.
    """
    if isinstance(source, pa.Table):
        log, waiting = None, source
    else:
        log = source
    connection = duckdb.connect()
    try:
        if threads is not None:
            connection.execute(f"SET threads = {threads:d}")
        connection.execute("SET TimeZone = 'UTC'")  # days begin at midnight UTC wherever it runs
        connection.execute(
            "CREATE TABLE denied AS SELECT unnest(?::VARCHAR[]) AS person", [sorted(denied)]
        )
        connection.execute(
            f"CREATE TABLE kinds AS SELECT * FROM (VALUES {_KIND_ROWS}) AS t(kind, kind_number)"
        )
        connection.register("no_rows", SCHEMA.empty_table())
        if waiting is not None:
            connection.register("waiting_rows", waiting)
        further = waiting is not None
        connection.execute(
            EVENTS_SQL.format(
                source=_source(log.files(since=since, until=until) if log else (), further=further),
                # Whoever logged in before the window is known in it.
                every_source=_source(log.files(until=until) if log else (), further=further),
                since=literal(since),
                until=literal(until),
                user_prefix=USER_PREFIX,
                visitor_prefix=VISITOR_PREFIX,
            )
        )
    except BaseException:
        connection.close()
        raise
    return connection


EVENTS_SQL: Final = """
CREATE TEMP VIEW log_rows AS
    SELECT * FROM {source} WHERE timestamp >= {since} AND timestamp < {until};

-- An anonymous event belongs to the customer of the last login before it, else of the first after
-- it: a login holds until the next one, the first one also for all time before.
CREATE TABLE identities AS
    SELECT anonymous_id, user_id,
        CASE WHEN row_number() OVER logins = 1 THEN '-infinity'::TIMESTAMPTZ ELSE timestamp END
            AS since,
        coalesce(lead(timestamp) OVER logins, 'infinity'::TIMESTAMPTZ) AS until
    FROM (
        SELECT anonymous_id, timestamp, max(user_id) AS user_id FROM {every_source}
        WHERE kind = 'identify' AND anonymous_id IS NOT NULL AND user_id IS NOT NULL
            AND timestamp < {until}
        GROUP BY ALL
    )
    WINDOW logins AS (PARTITION BY anonymous_id ORDER BY timestamp);

CREATE TEMP VIEW person_events AS
    SELECT e.* EXCLUDE (person), CASE WHEN d.person IS NULL THEN e.person END AS person
    FROM (
        SELECT r.*,
            CASE WHEN r.user_id IS NOT NULL THEN '{user_prefix}' || r.user_id
                 WHEN o.user_id IS NOT NULL THEN '{user_prefix}' || o.user_id
                 WHEN r.anonymous_id IS NOT NULL THEN '{visitor_prefix}' || r.anonymous_id
            END AS person,
            coalesce(r.transaction_id, r.event_id) AS basket
        FROM log_rows r LEFT JOIN identities o
            ON r.anonymous_id = o.anonymous_id AND r.timestamp >= o.since AND r.timestamp < o.until
    ) e
    LEFT JOIN denied d ON d.person = e.person;

-- The newest feedback of a person on each item (`recsys.query.feedback`).
CREATE TABLE last_feedback AS
    SELECT * FROM person_events
    WHERE kind = 'feedback' AND person IS NOT NULL AND item_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY person, item_id ORDER BY timestamp DESC, event_id) = 1;

-- A standing like counts as an event; events of a person with an item that the person refuses lose
-- the person.
CREATE TEMP VIEW item_events AS
    SELECT e.* EXCLUDE (person), CASE WHEN w.person IS NULL THEN e.person END AS person
    FROM person_events e LEFT JOIN (
        SELECT person, item_id FROM last_feedback
        WHERE action IN ('not_interested', 'never_again', 'wrong')
    ) w ON w.person = e.person AND w.item_id = e.item_id
    WHERE e.item_id IS NOT NULL AND e.kind <> 'feedback'
    UNION ALL BY NAME SELECT * FROM last_feedback WHERE action = 'like';
"""


def name_of(source: EventSource) -> str:
    """The source as errors name it."""
    return "the table of events" if isinstance(source, pa.Table) else f"the log at {source.root}"


_KIND_ROWS = ", ".join(f"('{kind}', {number})" for number, kind in enumerate(EVENT_KINDS))


def _source(files: Sequence[Path], *, further: bool) -> str:
    names = [str(path) for path in files]
    # Files of an earlier version lack the newest columns.
    logged = (
        f"read_parquet({names!r}, hive_partitioning = false, union_by_name = true)"
        if names
        else "no_rows"
    )
    if not further:
        return logged
    return (
        f"(SELECT * FROM {logged} WHERE event_id NOT IN (SELECT event_id FROM waiting_rows) "
        "UNION ALL BY NAME SELECT * FROM waiting_rows)"
    )


def literal(moment: datetime) -> str:
    """A moment as SQL."""
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).isoformat()}'"
