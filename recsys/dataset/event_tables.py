"""`Timeline`, `Baskets` and `Popularity`: the tables of events that models learn from, as arrays.

SQL numbers users and items once and gives each table as columns; one function per table reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.catalog.items import Item
from recsys.dataset.person_records import session_codes
from recsys.events.views import literal
from recsys.events.weighting import Weighting
from recsys.ids import Numbers, Vocabulary
from recsys.query.facts import SESSION_GAP


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every event with an item, grouped by user, oldest first: parallel arrays.

    Row span of user u: `starts[u]:starts[u + 1]`. `events` numbers the event that a row belongs
    to, from 0 in the order of the rows, so that the items of one invoice share a number; so does
    `sessions` for visits (rows in a run with the same `session_id`, or without one and without a
    silence of more than SESSION_GAP). `session_codes` are codes of the session ids, 0 where there
    is none. Both are empty where visits are unknown.
    """

    starts: NDArray[np.int64]
    users: Numbers
    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]
    events: NDArray[np.int64]
    sessions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    session_codes: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))


@dataclass(frozen=True, slots=True)
class Baskets:
    """Purchases as sets of items: one row per basket, also of visitors whom nobody knows.

    `users` is −1 for an anonymous basket, which then counts as a customer of its own.
    """

    matrix: csr_array  # baskets × items, 1.0 where bought
    users: Numbers
    times: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Popularity:
    """Counts per item and day over everybody's events, those without consent included.

    Parallel arrays; `countries` are codes into `country_names`, −1 where unknown.
    """

    items: Numbers
    kinds: NDArray[np.int8]
    days: NDArray[np.float64]
    """Midnight UTC of the day, epoch seconds."""
    countries: NDArray[np.int32]
    counts: NDArray[np.float64]
    country_names: Vocabulary


# Numbers instead of names, once: everything below sorts and groups fixed-width columns.
NUMBER_SQL = """
CREATE TABLE users AS
    SELECT person, (row_number() OVER (ORDER BY person) - 1)::INTEGER AS number
    FROM (SELECT DISTINCT person FROM item_events WHERE person IS NOT NULL);
CREATE TABLE items AS
    SELECT item_id, (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS number
    FROM (SELECT item_id FROM item_events UNION SELECT item_id FROM catalog_ids);
CREATE TABLE countries AS
    SELECT country, (row_number() OVER (ORDER BY country) - 1)::INTEGER AS number
    FROM (SELECT DISTINCT country FROM item_events WHERE country IS NOT NULL);
CREATE TABLE numbered_events AS
    SELECT u.number AS "user", i.number AS item, k.kind_number::TINYINT AS kind,
        coalesce(c.number, -1)::INTEGER AS country, epoch(timestamp) AS time,
        hash(event_id) AS event, position,
        CASE WHEN session_id IS NULL THEN 0 ELSE hash(session_id) END AS session,
        CASE WHEN kind = 'purchase' THEN hash(basket) END AS basket
    FROM item_events JOIN items i USING (item_id) JOIN kinds k USING (kind)
        LEFT JOIN users u USING (person) LEFT JOIN countries c USING (country);
"""

# Sums that cancel leave a rest of rounding, which is no interest in the item.
INTERACTIONS_SQL = """
SELECT "user", item, sum(weight)::FLOAT AS weight FROM (
    SELECT "user", item, {weight} AS weight
    FROM numbered_events e JOIN kinds k ON k.kind_number = e.kind
    WHERE "user" IS NOT NULL
)
GROUP BY ALL HAVING sum(weight) > 1e-6 * sum(abs(weight)) ORDER BY 1, 2
"""

TIMELINE_SQL = """
SELECT "user", item, kind, time, event, session FROM numbered_events WHERE "user" IS NOT NULL
ORDER BY "user", time, event, position
"""

BASKETS_SQL = """
WITH lines AS (
    SELECT DISTINCT basket, coalesce("user", -1) AS "user", item, time FROM numbered_events
    WHERE basket IS NOT NULL
), baskets AS (
    SELECT basket, "user", min(time) AS time,
        row_number() OVER (ORDER BY min(time), basket, "user") - 1 AS number
    FROM lines GROUP BY basket, "user"
)
SELECT DISTINCT number AS basket, "user", item, baskets.time AS time
FROM lines JOIN baskets USING (basket, "user") ORDER BY 1, 3
"""

POPULARITY_SQL = """
SELECT item, kind, country, floor(time / 86400) * 86400 AS day,
    count(DISTINCT event)::DOUBLE AS count
FROM numbered_events GROUP BY ALL ORDER BY day, item, kind, country
"""


def number_events(
    connection: duckdb.DuckDBPyConnection, catalog: Sequence[Item]
) -> tuple[Vocabulary, Vocabulary]:
    """Creates the tables of numbered users, items and events; the users and the items.

    Items of the catalogue are numbered also where they have no event.
    """
    connection.execute(
        "CREATE TABLE catalog_ids AS SELECT unnest(?::VARCHAR[]) AS item_id",
        [[item.item_id for item in catalog]],
    )
    connection.execute(NUMBER_SQL)
    users = Vocabulary(_strings(connection, "SELECT person FROM users ORDER BY number"))
    items = Vocabulary(_strings(connection, "SELECT item_id FROM items ORDER BY number"))
    return users, items


def count_events(connection: duckdb.DuckDBPyConnection) -> int:
    """Numbered rows: one per item of an event."""
    return int(connection.execute("SELECT count(*) FROM numbered_events").fetchall()[0][0])


def read_interactions(
    connection: duckdb.DuckDBPyConnection,
    *,
    weighting: Weighting,
    as_of: datetime,
    shape: tuple[int, int],
) -> csr_array:
    """users × items, float32: the weights of all events, decayed to `as_of` and summed."""
    age = f"(epoch({literal(as_of)}) - time) / 86400.0"
    columns = _columns(connection, INTERACTIONS_SQL.format(weight=weighting.sql("k.kind", age)))
    values = np.asarray(columns["weight"], np.float32)
    matrix = csr_array((values, (columns["user"], columns["item"])), shape=shape)
    matrix.sort_indices()
    return matrix


def read_timeline(connection: duckdb.DuckDBPyConnection, n_users: int) -> Timeline:
    """The events of all known persons."""
    columns = _columns(connection, TIMELINE_SQL)
    users = np.asarray(columns["user"], np.int32)
    # An event is one person's: a row begins one where the event before it was another.
    names = np.asarray(columns["event"], np.uint64)
    begins = np.diff(names, prepend=~names[:1]) != 0
    times = np.asarray(columns["time"], np.float64)
    hashes = np.asarray(columns["session"], np.uint64)
    return Timeline(
        starts=np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64),
        users=users,
        items=np.asarray(columns["item"], np.int32),
        kinds=np.asarray(columns["kind"], np.int8),
        times=times,
        events=np.cumsum(begins, dtype=np.int64) - 1,
        sessions=_visits(users, times, hashes),
        session_codes=session_codes(hashes),
    )


def _visits(
    users: Numbers, times: NDArray[np.float64], codes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Numbers of visits; `codes` are those of the session ids, 0 where there is none."""
    silent = np.diff(times) > SESSION_GAP.total_seconds()
    unnamed = (codes[1:] == 0) & (codes[:-1] == 0)
    begins = (np.diff(users) != 0) | np.where(unnamed, silent, codes[1:] != codes[:-1])
    numbers = np.zeros(len(users), np.int64)
    np.cumsum(begins, out=numbers[1:])
    return numbers


def read_baskets(connection: duckdb.DuckDBPyConnection, n_items: int) -> Baskets:
    """All purchases, anonymous ones included."""
    columns = _columns(connection, BASKETS_SQL)
    rows = np.asarray(columns["basket"], np.int64)
    n_baskets = int(rows[-1]) + 1 if len(rows) else 0
    first = np.searchsorted(rows, np.arange(n_baskets))
    ones = np.ones(len(rows), np.float32)
    matrix = csr_array((ones, (rows, columns["item"])), shape=(n_baskets, n_items))
    return Baskets(
        matrix,
        np.asarray(columns["user"], np.int32)[first],
        np.asarray(columns["time"], np.float64)[first],
    )


def read_popularity(connection: duckdb.DuckDBPyConnection) -> Popularity:
    """Counts of all events per item, kind, country and day."""
    columns = _columns(connection, POPULARITY_SQL)
    countries = _strings(connection, "SELECT country FROM countries ORDER BY number")
    return Popularity(
        items=np.asarray(columns["item"], np.int32),
        kinds=np.asarray(columns["kind"], np.int8),
        days=np.asarray(columns["day"], np.float64),
        countries=np.asarray(columns["country"], np.int32),
        counts=np.asarray(columns["count"], np.float64),
        country_names=Vocabulary(countries),
    )


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> Mapping[str, NDArray[np.generic]]:
    table = connection.sql(sql).to_arrow_table()
    return {name: table[name].to_numpy() for name in table.column_names}


def _strings(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql).fetchall()]
