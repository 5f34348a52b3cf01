"""`BenchmarkTask`: queries with known answers, and the training data that lie before them.

Benchmark files hold interactions in order, seldom with a time. Where there is none, an interaction
is dated by its position in the user's sequence, a day apart, so that half-lives in days count
interactions or baskets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog, Item
from recsys.dataset.event_tables import Baskets, Popularity, Timeline
from recsys.dataset.training_data import TrainingData
from recsys.events.schema import EVENT_KINDS, KIND_NUMBER, EventKind
from recsys.events.weighting import SECONDS_PER_DAY, Weighting
from recsys.ids import NONE, Numbers, Vocabulary, user_key, visitor_key
from recsys.models.scoring.decayed import decayed_interactions
from recsys.query.builder import QuerySettings, build_query
from recsys.query.facts import PersonFacts
from recsys.query.history import EventRows
from recsys.query.profile import UNKNOWN
from recsys.query.query import Query
from training.benchmark.metrics import TaskMetrics

AS_OF: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""The moment of the queries where a file has no times."""
NO_DECAY: Final = 1e9
"""A half-life in days so long that every interaction weighs 1."""
NO_IDS: Final = Vocabulary([])
"""Instead of the items' ids, which nothing in a benchmark file refers to."""
CUSTOMER: Final = user_key("")
VISITOR: Final = visitor_key("")
"""Person keys of the two kinds of visitors, who have no ids here."""


@dataclass(frozen=True, slots=True)
class InteractionTable:
    """The interactions of a file: parallel arrays, grouped by user, each user's oldest first.

    `times` are epoch seconds. `events` numbers the basket and `sessions` the visit of each
    interaction, both from 0 and never falling; by default every interaction is an event of its own
    and every user has one visit.
    """

    users: Numbers
    items: Numbers
    times: NDArray[np.float64]
    events: NDArray[np.int64] | None = None
    sessions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def timeline(self, *, n_users: int, kind: int) -> Timeline:
        """The table as training data hold it; every interaction is an event of this kind."""
        n = len(self)
        return Timeline(
            np.searchsorted(self.users, np.arange(n_users + 1)).astype(np.int64),
            self.users,
            self.items,
            np.full(n, kind, np.int8),
            self.times,
            np.arange(n, dtype=np.int64) if self.events is None else self.events,
            self.users.astype(np.int64) if self.sessions is None else self.sessions,
        )


@dataclass(frozen=True, slots=True)
class EvalQueries:
    """Who asks when, with which history: query q knows `items[begins[q]:ends[q]]`, oldest first.

    Positions from `visits[q]` on belong to the current visit; `nows` are epoch seconds. `known` is
    whether the visitors are customers.
    """

    items: Numbers
    times: NDArray[np.float64]
    kind: int
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    visits: NDArray[np.int64]
    nows: NDArray[np.float64]
    known: bool = True

    @classmethod
    def of_users(
        cls,
        data: TrainingData,
        users: NDArray[np.integer],
        *,
        visits: NDArray[np.int64] | None = None,
    ) -> EvalQueries:
        """One query per user at `data.as_of` with the whole history; −1 has none.

        Without `visits` nobody is in a visit.
        """
        timeline = data.timeline
        begins = np.where(users >= 0, timeline.starts[users], 0)
        ends = np.where(users >= 0, timeline.starts[users + 1], 0)
        return cls(
            timeline.items,
            timeline.times,
            int(timeline.kinds[0]),
            begins,
            ends,
            visits=ends if visits is None else visits,
            nows=np.full(len(users), data.as_of.timestamp()),
        )

    def __len__(self) -> int:
        return len(self.begins)

    def subset(self, rows: NDArray[np.integer]) -> EvalQueries:
        """Some of the queries, in the order of `rows`."""
        return replace(
            self,
            begins=self.begins[rows],
            ends=self.ends[rows],
            visits=self.visits[rows],
            nows=self.nows[rows],
        )

    def distinct_items(self) -> list[Numbers]:
        """The distinct items of each history, in ascending order."""
        spans = zip(self.begins.tolist(), self.ends.tolist(), strict=True)
        return [np.unique(self.items[begin:end]) for begin, end in spans]

    def queries(self, weighting: Weighting) -> list[Query]:
        """The queries as the service would build them, each at its own `now`."""
        return [self._query(row, weighting) for row in range(len(self))]

    def _query(self, row: int, weighting: Weighting) -> Query:
        begin, end = int(self.begins[row]), int(self.ends[row])
        items = self.items[begin:end]
        rows = EventRows(
            items,
            np.full(len(items), self.kind, np.int8),
            self.times[begin:end],
            visit=np.arange(begin, end) >= self.visits[row],
        )
        now = datetime.fromtimestamp(float(self.nows[row]), UTC)
        settings = QuerySettings(NO_IDS, weighting, weighed_at=now)
        person = CUSTOMER if self.known else VISITOR
        return build_query(PersonFacts(person, rows), settings, now=now)


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """Queries over training data: `truth[q]` answers query q, `excluded[q]` must not be in its
    list."""

    data: TrainingData
    queries: EvalQueries
    truth: Sequence[Numbers]
    excluded: Sequence[Numbers]

    def __len__(self) -> int:
        return len(self.queries)

    def sampled(self, most: int, *, rng: Generator) -> BenchmarkTask:
        """At most so many of the queries, drawn by `rng`."""
        if len(self) <= most:
            return self
        return self.subset(np.sort(rng.choice(len(self), size=most, replace=False)))

    def subset(self, rows: NDArray[np.integer]) -> BenchmarkTask:
        """Some of the queries, in the order of `rows`."""
        return BenchmarkTask(
            self.data,
            self.queries.subset(rows),
            [self.truth[row] for row in rows.tolist()],
            [self.excluded[row] for row in rows.tolist()],
        )


@dataclass(frozen=True, slots=True)
class SetSize:
    """How large a set is; families that do not scale to it are left out.

    `pairs` is Σ n² over the users' numbers of items, an upper bound on the pairs of items that
    share a user. `attributes` is whether the items are described.
    """

    users: int
    items: int
    interactions: int
    attributes: bool = False
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """A set as its protocol splits it: everything is chosen on `validation`, then `test` is scored
    once. `about` describes the split to a reader."""

    task: str
    validation: BenchmarkTask
    test: BenchmarkTask
    metrics: TaskMetrics
    size: SetSize
    about: str


@dataclass(slots=True)
class WeightedData:
    """The same training data under several half-lives, each computed once."""

    data: TrainingData
    _by_half_life: dict[float, TrainingData] = field(default_factory=dict)

    def at(self, half_life_days: float | None) -> TrainingData:
        """The data with interactions weighted by that half-life; None for no decay."""
        if half_life_days is None:
            return self.data
        if half_life_days not in self._by_half_life:
            weighting = self.data.weighting.model_copy(update={"half_life_days": half_life_days})
            self._by_half_life[half_life_days] = replace(
                self.data,
                weighting=weighting,
                interactions=decayed_interactions(self.data, half_life_days=half_life_days),
            )
        return self._by_half_life[half_life_days]


def training_data(
    table: InteractionTable,
    *,
    n_users: int,
    items: Vocabulary,
    kind: EventKind,
    as_of: datetime = AS_OF,
    described: Sequence[Item] = (),
) -> TrainingData:
    """Training data from a table: every interaction weighs 1 at any age.

    Where the table has events of several items, these are the data's baskets.
    """
    n_items = len(items)
    ones = np.ones(len(table), np.float32)
    interactions = csr_array((ones, (table.users, table.items)), shape=(n_users, n_items))
    interactions.sum_duplicates()
    return TrainingData(
        as_of=as_of,
        users=Vocabulary([user_key(str(user)) for user in range(n_users)]),
        items=items,
        interactions=interactions,
        timeline=table.timeline(n_users=n_users, kind=KIND_NUMBER[kind]),
        baskets=_baskets(table, n_items),
        popularity=_popularity(table, n_items, KIND_NUMBER[kind]),
        catalog=Catalog.of(described, items),
        profiles=(UNKNOWN,) * n_users,
        weighting=Weighting(
            kind_weights={EVENT_KINDS[KIND_NUMBER[kind]]: 1.0}, half_life_days=NO_DECAY
        ),
    )


def _popularity(table: InteractionTable, n_items: int, kind: int) -> Popularity:
    days = np.floor(table.times / SECONDS_PER_DAY).astype(np.int64)
    cells, counts = np.unique(days * n_items + table.items, return_counts=True)
    return Popularity(
        (cells % n_items).astype(np.int32),
        np.full(len(cells), kind, np.int8),
        (cells // n_items) * SECONDS_PER_DAY,
        np.full(len(cells), -1, np.int32),
        counts.astype(np.float64),
        Vocabulary([]),
    )


def _baskets(table: InteractionTable, n_items: int) -> Baskets:
    if table.events is None:
        return Baskets(csr_array((0, n_items), dtype=np.float32), NONE, np.empty(0))
    _, first, rows = np.unique(table.events, return_index=True, return_inverse=True)
    ones = np.ones(len(table), np.float32)
    matrix = csr_array((ones, (rows, table.items)), shape=(len(first), n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return Baskets(matrix, table.users[first], table.times[first])
