"""`TrainingData`: everything a model may learn from, as of one moment, read from the event log.

One SQL text does the joining and summing; it is run by DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog, Item
from recsys.dataset.context_counts import ContextCounts, no_context_counts, read_context_counts
from recsys.dataset.event_frame import after_newest, event_table
from recsys.dataset.frames import Frame
from recsys.dataset.impressions import Impressions, no_impressions, read_impressions
from recsys.dataset.item_frame import item_list, profiles_by_person
from recsys.dataset.person_records import PersonRecords, no_records, session_codes
from recsys.dataset.ratings import Ratings, no_ratings, read_ratings
from recsys.dataset.read_records import read_person_records
from recsys.errors import InsufficientData
from recsys.events.views import EventSource, literal, name_of, open_log
from recsys.events.weighting import Weighting
from recsys.ids import Numbers, Vocabulary
from recsys.query.builder import QuerySettings, build_query
from recsys.query.facts import SESSION_GAP, PersonFacts
from recsys.query.history import NO_ROWS, EventRows, History
from recsys.query.preferences import Preferences
from recsys.query.profile import UNKNOWN, Profile
from recsys.query.query import Query
from recsys.query.segments import Segment


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
    impressions: Impressions = field(default_factory=no_impressions)
    context_counts: ContextCounts = field(default_factory=no_context_counts)
    ratings: Ratings = field(default_factory=no_ratings)
    records: PersonRecords = field(default_factory=no_records)

    @classmethod
    def from_events(
        cls,
        events: Frame,
        *,
        items: Frame | None = None,
        profiles: Frame | None = None,
        as_of: datetime | None = None,
        weighting: Weighting | None = None,
    ) -> TrainingData:
        """What a model may learn from frames (pandas or pyarrow) of events, items and profiles.

        Events, one row per item: `event` (view_item, add_to_cart, purchase, …), `timestamp` with a
        zone, `item_id`, and `user_id` or `anonymous_id`; beside them `event_id`, `transaction_id`,
        `session_id`, `quantity`, `price`, `country`, … (`event_frame.EVENT_COLUMNS`). Items:
        `item_id`, `title`, `category`, `brand`, `price`, … (`item_frame.ITEM_COLUMNS`). Profiles:
        `user_id`, `country`, `customer_group`, … (`item_frame.PROFILE_COLUMNS`).

        `as_of` is the moment just after the newest event where it is not given; later events are
        left out. InvalidInput names the column, the value and the remedy; InsufficientData where
        no event has an item.
        """
        table = event_table(events)
        by_person = {} if profiles is None else profiles_by_person(profiles)
        refusing = [
            person
            for person, profile in by_person.items()
            if profile.consent is not None and not profile.consent.personalization
        ]
        return read_training_data(
            table,
            as_of=after_newest(table) if as_of is None else as_of,
            weighting=weighting or Weighting(),
            catalog=() if items is None else item_list(items),
            profiles=by_person,
            denied=refusing,
        )

    def history(self, user: int, *, now: datetime) -> History:
        """One user's history as it is weighed at `now`."""
        timeline = self.timeline
        span = slice(int(timeline.starts[user]), int(timeline.starts[user + 1]))
        kinds, times = timeline.kinds[span], timeline.times[span]
        weights = self.weighting.weights(kinds, times, now=now.timestamp())
        return History(timeline.items[span], kinds, times, weights)

    def __repr__(self) -> str:
        return (
            f"<TrainingData as of {self.as_of:%Y-%m-%d %H:%M}: {len(self.users):,} users, "
            f"{len(self.items):,} items, {len(self.timeline.items):,} events with an item>"
        )

    def query_settings(
        self, *, segments: Sequence[Segment] = (), counts_impressions: bool = False
    ) -> QuerySettings:
        """What the queries of a bundle that is fitted on these data are built with."""
        return QuerySettings(
            items=self.items,
            weighting=self.weighting,
            weighed_at=self.as_of,
            segments=tuple(segments),
            counts_impressions=counts_impressions,
        )

    def facts(self, person: str, *, now: datetime) -> PersonFacts:
        """What the service would know of a person (key) at `now`: nothing from at or after it.

        Of somebody without an event before `as_of` nothing that was declared is used.
        """
        user = self.users.number(person)
        timeline, profile = NO_ROWS, UNKNOWN
        codes = np.empty(0, np.uint32)
        if user is not None:
            first, end = int(self.timeline.starts[user]), int(self.timeline.starts[user + 1])
            times = self.timeline.times[first:end]
            if len(times) and times[-1] >= now.timestamp():
                end = first + int(np.searchsorted(times, now.timestamp()))
            span, profile = slice(first, end), self.profiles[user]
            timeline = EventRows(
                self.timeline.items[span], self.timeline.kinds[span], self.timeline.times[span]
            )
            codes = self.timeline.session_codes[span]
        if not len(codes):
            codes = np.zeros(len(timeline), np.uint32)
        return self.records.facts(
            person, timeline, codes, profile=profile, items=self.items, now=now
        )

    def queries(
        self, persons: Sequence[str], *, now: datetime, settings: QuerySettings | None = None
    ) -> list[Query]:
        """What the service would ask the models when these persons (keys) come at `now`.

        `session` holds the visit that is under way at `now`, `context` that of its newest event:
        both are empty for whoever comes back later. `settings` default to those of a bundle
        without segments and frequency caps.
        """
        settings = settings or self.query_settings()
        return [
            build_query(
                self.facts(person, now=now),
                settings,
                now=now,
                context=self.records.context(person, now=now),
            )
            for person in persons
        ]


def read_training_data(
    log: EventSource,
    *,
    as_of: datetime,
    weighting: Weighting,
    catalog: Sequence[Item] = (),
    profiles: Mapping[str, Profile] | None = None,
    preferences: Mapping[str, Preferences] | None = None,
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
        if not _count(connection, "SELECT count(*) FROM acts"):
            raise InsufficientData(
                f"There is no event with an item between {as_of - window:%Y-%m-%d} and "
                f"{as_of:%Y-%m-%d} in {name_of(log)}; import events first."
            )
        age = f"(epoch({literal(as_of)}) - time) / 86400.0"
        interactions = _columns(
            connection, INTERACTIONS_SQL.format(weight=weighting.sql("k.kind", age))
        )
        timeline = _columns(connection, TIMELINE_SQL)
        baskets = _columns(connection, BASKETS_SQL)
        popularity = _columns(connection, POPULARITY_SQL)
        countries = _strings(connection, "SELECT country FROM countries ORDER BY number")
        impressions = read_impressions(connection, gap=SESSION_GAP)
        context_counts = read_context_counts(connection)
        ratings = read_ratings(connection)
        records = read_person_records(
            connection, as_of=as_of, profiles=profiles or {}, preferences=preferences or {}
        )
    by_person = profiles or {}
    return TrainingData(
        as_of=as_of,
        users=users,
        items=items,
        interactions=_matrix(interactions, (len(users), len(items))),
        timeline=_timeline(timeline, len(users)),
        baskets=_baskets(baskets, len(items)),
        popularity=_popularity(popularity, Vocabulary(countries)),
        catalog=Catalog.of(catalog, items),
        profiles=tuple(by_person.get(person, UNKNOWN) for person in users),
        weighting=weighting,
        impressions=impressions,
        context_counts=context_counts,
        ratings=ratings,
        records=records,
    )


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
CREATE TABLE acts AS
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
    SELECT "user", item, {weight} AS weight FROM acts JOIN kinds k ON kind_number = acts.kind
    WHERE "user" IS NOT NULL
)
GROUP BY ALL HAVING sum(weight) > 1e-6 * sum(abs(weight)) ORDER BY 1, 2
"""

TIMELINE_SQL = """
SELECT "user", item, kind, time, event, session FROM acts WHERE "user" IS NOT NULL
ORDER BY "user", time, event, position
"""

BASKETS_SQL = """
WITH lines AS (
    SELECT DISTINCT basket, coalesce("user", -1) AS "user", item, time FROM acts
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
FROM acts GROUP BY ALL ORDER BY day, item, kind, country
"""

_Columns = Mapping[str, NDArray[np.generic]]


def _matrix(columns: _Columns, shape: tuple[int, int]) -> csr_array:
    values = np.asarray(columns["weight"], np.float32)
    matrix = csr_array((values, (columns["user"], columns["item"])), shape=shape)
    matrix.sort_indices()
    return matrix


def _timeline(columns: _Columns, n_users: int) -> Timeline:
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


def _popularity(columns: _Columns, country_names: Vocabulary) -> Popularity:
    return Popularity(
        items=np.asarray(columns["item"], np.int32),
        kinds=np.asarray(columns["kind"], np.int8),
        days=np.asarray(columns["day"], np.float64),
        countries=np.asarray(columns["country"], np.int32),
        counts=np.asarray(columns["count"], np.float64),
        country_names=country_names,
    )


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> _Columns:
    table = connection.sql(sql).to_arrow_table()
    return {name: table[name].to_numpy() for name in table.column_names}


def _strings(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql).fetchall()]


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])
