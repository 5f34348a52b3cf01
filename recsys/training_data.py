"""`TrainingData`: everything a model may learn from, as of one moment, read from the event log.

One SQL text does the joining and summing; it is run by DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.catalog import Catalog, Item
from recsys.errors import InsufficientData
from recsys.event_log import SCHEMA, EventLog
from recsys.events import EVENT_KINDS
from recsys.ids import Numbers, Vocabulary
from recsys.profiles import UNKNOWN, Profile
from recsys.query import NO_HISTORY, Context, History, Query
from recsys.weighting import Weighting


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every event with an item, grouped by user, oldest first: parallel arrays.

    Row span of user u: `starts[u]:starts[u + 1]`. `events` numbers the event that a row belongs
    to, so that the items of one invoice share a number.
    """

    starts: NDArray[np.int64]
    users: Numbers
    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]
    events: NDArray[np.int64]


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


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is known before `as_of`: nothing in it happened at or after that moment.

    `users` are person keys (`u:<user_id>`, `a:<anonymous_id>`), visitors who logged in folded into
    their customer. `interactions` is users × items, float32, weighted, decayed, positive.
    `profiles[n]` is what was declared about user n.
    """

    as_of: datetime
    users: Vocabulary
    items: Vocabulary
    interactions: csr_array
    timeline: Timeline
    baskets: Baskets
    popularity: Popularity
    catalog: Catalog
    profiles: tuple[Profile, ...]
    weighting: Weighting

    def history(self, user: int, *, now: datetime) -> History:
        """One user's history as it is weighed at `now`."""
        timeline = self.timeline
        span = slice(int(timeline.starts[user]), int(timeline.starts[user + 1]))
        kinds, times = timeline.kinds[span], timeline.times[span]
        weights = self.weighting.weights(kinds, times, now=now.timestamp())
        return History(timeline.items[span], kinds, times, weights)

    def queries(self, persons: Sequence[str], *, now: datetime) -> list[Query]:
        """What a service would know when these persons (keys) ask at `now`."""
        return [self._query(person, now) for person in persons]

    def _query(self, person: str, now: datetime) -> Query:
        user = self.users.number(person)
        profile = UNKNOWN if user is None else self.profiles[user]
        return Query(
            now=now,
            history=NO_HISTORY if user is None else self.history(user, now=now),
            profile=profile,
            context=Context(country=profile.country),
            known=person.startswith("u:"),
        )


def read_training_data(
    log: EventLog,
    *,
    as_of: datetime,
    weighting: Weighting,
    catalog: Sequence[Item] = (),
    profiles: Mapping[str, Profile] | None = None,
    denied: Collection[str] = (),
    window: timedelta = timedelta(days=730),
) -> TrainingData:
    """Everything in the log within `window` before `as_of`.

    `denied` are person keys that may not be personalised: their events teach as anybody's.
    InsufficientData where there is no event with an item.
    """
    connection = open_log(log, since=as_of - window, until=as_of, denied=denied)
    with connection:
        connection.execute(
            "CREATE TABLE catalog_ids AS SELECT unnest(?::VARCHAR[]) AS item_id",
            [[item.item_id for item in catalog]],
        )
        connection.execute(NUMBER_SQL)
        users = Vocabulary(_strings(connection, "SELECT person FROM users ORDER BY number"))
        items = Vocabulary(_strings(connection, "SELECT item_id FROM items ORDER BY number"))
        if not _count(connection, "SELECT count(*) FROM item_events"):
            raise InsufficientData(
                f"The event log at {log.root} has no event with an item between "
                f"{as_of - window:%Y-%m-%d} and {as_of:%Y-%m-%d}; import events first."
            )
        age = f"(epoch({_literal(as_of)}) - epoch(timestamp)) / 86400.0"
        interactions = _columns(
            connection, INTERACTIONS_SQL.format(weight=weighting.sql("kind", age))
        )
        timeline = _columns(connection, TIMELINE_SQL)
        baskets = _columns(connection, BASKETS_SQL)
        popularity = _columns(connection, POPULARITY_SQL)
    by_person = profiles or {}
    return TrainingData(
        as_of=as_of,
        users=users,
        items=items,
        interactions=_matrix(interactions, (len(users), len(items))),
        timeline=_timeline(timeline, len(users)),
        baskets=_baskets(baskets, len(items)),
        popularity=_popularity(popularity),
        catalog=Catalog.of(catalog, items),
        profiles=tuple(by_person.get(person, UNKNOWN) for person in users),
        weighting=weighting,
    )


def open_log(
    log: EventLog, *, since: datetime, until: datetime, denied: Collection[str] = ()
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the view `item_events` over [since, until), persons resolved.

    Columns: those of the log, `person` (NULL where unknown or denied) and `basket`. Close it
    after use.
    """
    connection = duckdb.connect()
    try:
        files = [str(path) for path in log.files(since=since, until=until)]
        connection.execute("CREATE TABLE denied AS SELECT unnest(?::VARCHAR[]) AS person",
                           [sorted(denied)])
        connection.execute(f"CREATE TABLE kinds AS SELECT * FROM (VALUES {_KIND_ROWS}) "
                           "AS t(kind, kind_number)")
        if files:
            source = f"read_parquet({files!r}, hive_partitioning = false)"
        else:
            connection.register("no_rows", SCHEMA.empty_table())
            source = "no_rows"
        connection.execute(
            EVENTS_SQL.format(source=source, since=_literal(since), until=_literal(until))
        )
    except BaseException:
        connection.close()
        raise
    return connection


EVENTS_SQL = """
CREATE TEMP VIEW raw AS
    SELECT * FROM {source} WHERE timestamp >= {since} AND timestamp < {until};

CREATE TABLE identities AS
    SELECT anonymous_id, user_id, timestamp FROM raw
    WHERE kind = 'identify' AND anonymous_id IS NOT NULL AND user_id IS NOT NULL;

-- An anonymous event belongs to whoever logged in last before it, else to the first who did after.
CREATE TABLE item_events AS
    SELECT e.* EXCLUDE (person), CASE WHEN d.person IS NULL THEN e.person END AS person
    FROM (
        SELECT r.*,
            CASE WHEN r.user_id IS NOT NULL THEN 'u:' || r.user_id
                 WHEN before.user_id IS NOT NULL THEN 'u:' || before.user_id
                 WHEN after.user_id IS NOT NULL THEN 'u:' || after.user_id
                 WHEN r.anonymous_id IS NOT NULL THEN 'a:' || r.anonymous_id
            END AS person,
            coalesce(r.transaction_id, r.event_id) AS basket
        FROM raw r
        ASOF LEFT JOIN identities before
            ON r.anonymous_id = before.anonymous_id AND r.timestamp >= before.timestamp
        LEFT JOIN (SELECT anonymous_id, arg_min(user_id, timestamp) AS user_id
                   FROM identities GROUP BY anonymous_id) after
            ON r.anonymous_id = after.anonymous_id
        WHERE r.item_id IS NOT NULL
    ) e
    LEFT JOIN denied d ON d.person = e.person;
"""

NUMBER_SQL = """
CREATE TABLE users AS
    SELECT person, (row_number() OVER (ORDER BY person) - 1)::INTEGER AS number
    FROM (SELECT DISTINCT person FROM item_events WHERE person IS NOT NULL);
CREATE TABLE items AS
    SELECT item_id, (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS number
    FROM (SELECT item_id FROM item_events UNION SELECT item_id FROM catalog_ids);
"""

INTERACTIONS_SQL = """
SELECT u.number AS "user", i.number AS item, sum({weight})::FLOAT AS weight
FROM item_events JOIN users u USING (person) JOIN items i USING (item_id)
GROUP BY ALL HAVING weight > 0 ORDER BY 1, 2
"""

TIMELINE_SQL = """
SELECT u.number AS "user", i.number AS item, k.kind_number::TINYINT AS kind,
    epoch(timestamp) AS time, dense_rank() OVER (ORDER BY timestamp, event_id) AS event
FROM item_events JOIN users u USING (person) JOIN items i USING (item_id) JOIN kinds k USING (kind)
ORDER BY 1, time, event, position
"""

BASKETS_SQL = """
SELECT dense_rank() OVER (ORDER BY time, basket, "user") - 1 AS basket, "user", item, time FROM (
    SELECT basket, coalesce(u.number, -1) AS "user", i.number AS item,
        min(epoch(timestamp)) OVER (PARTITION BY basket, coalesce(u.number, -1)) AS time,
        row_number() OVER (PARTITION BY basket, coalesce(u.number, -1), i.number) AS repeated
    FROM item_events LEFT JOIN users u USING (person) JOIN items i USING (item_id)
    WHERE kind = 'purchase'
) WHERE repeated = 1 ORDER BY 1, 3
"""

POPULARITY_SQL = """
SELECT i.number AS item, k.kind_number::TINYINT AS kind, country,
    epoch(date_trunc('day', timestamp)) AS day, count(DISTINCT event_id)::DOUBLE AS count
FROM item_events JOIN items i USING (item_id) JOIN kinds k USING (kind)
GROUP BY ALL ORDER BY day, item, kind, country
"""

_KIND_ROWS = ", ".join(f"('{kind}', {number})" for number, kind in enumerate(EVENT_KINDS))

_Columns = Mapping[str, NDArray[np.generic]]


def _matrix(columns: _Columns, shape: tuple[int, int]) -> csr_array:
    values = np.asarray(columns["weight"], np.float32)
    matrix = csr_array((values, (columns["user"], columns["item"])), shape=shape)
    matrix.sort_indices()
    return matrix


def _timeline(columns: _Columns, n_users: int) -> Timeline:
    users = np.asarray(columns["user"], np.int32)
    return Timeline(
        starts=np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64),
        users=users,
        items=np.asarray(columns["item"], np.int32),
        kinds=np.asarray(columns["kind"], np.int8),
        times=np.asarray(columns["time"], np.float64),
        events=np.asarray(columns["event"], np.int64),
    )


def _baskets(columns: _Columns, n_items: int) -> Baskets:
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


def _popularity(columns: _Columns) -> Popularity:
    countries = ["" if name is None else str(name) for name in columns["country"].tolist()]
    names = Vocabulary.of(name for name in countries if name)
    return Popularity(
        items=np.asarray(columns["item"], np.int32),
        kinds=np.asarray(columns["kind"], np.int8),
        days=np.asarray(columns["day"], np.float64),
        countries=names.numbers(countries),
        counts=np.asarray(columns["count"], np.float64),
        country_names=names,
    )


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> _Columns:
    table = connection.sql(sql).to_arrow_table()
    return {name: table[name].to_numpy() for name in table.column_names}


def _strings(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql).fetchall()]


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def _literal(moment: datetime) -> str:
    return f"to_timestamp({moment.timestamp()!r}::DOUBLE)"
