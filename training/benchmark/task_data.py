"""`BenchmarkTask`: queries with known answers, and what a model may learn from before them.

Benchmark files tell acts in order, seldom with a time; where there is none, an act's place in its
sequence counts as its day, so that the models' half-lives are counted in acts or baskets.
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
from recsys.dataset.training_data import Baskets, Popularity, Timeline, TrainingData
from recsys.events.schema import EVENT_KINDS, KIND_NUMBER, EventKind
from recsys.events.weighting import SECONDS_PER_DAY, Weighting
from recsys.ids import NONE, Numbers, Vocabulary
from recsys.models.scoring.decayed import decayed_interactions
from recsys.query.builder import QuerySettings, build_query
from recsys.query.facts import PersonFacts
from recsys.query.history import EventRows
from recsys.query.profile import UNKNOWN
from recsys.query.query import Query

AS_OF: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""The moment of asking where a file tells no times."""
LASTING: Final = 1e9
"""A half-life in days that forgets nothing."""
NO_IDS: Final = Vocabulary([])
"""Instead of the items' ids, which nothing in a benchmark file refers to."""
CUSTOMER: Final = "u:"
VISITOR: Final = "a:"
"""Keys of the persons of a file, who have no ids."""


@dataclass(frozen=True, slots=True)
class InteractionTable:
    """What a file tells: parallel arrays in the order of users, each user's oldest first.

    `times` are epoch seconds; `events` numbers the basket, `sessions` the visit of each act, both
    from 0 and never falling.
    """

    users: Numbers
    items: Numbers
    times: NDArray[np.float64]
    events: NDArray[np.int64]
    sessions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    def where(self, chosen: NDArray[np.bool_]) -> InteractionTable:
        """The chosen acts; users keep their numbers."""
        return InteractionTable(
            self.users[chosen],
            self.items[chosen],
            self.times[chosen],
            self.events[chosen],
            self.sessions[chosen],
        )


@dataclass(frozen=True, slots=True)
class EvalQueries:
    """Who asks when with which past: question q knows `items[begins[q]:ends[q]]`, oldest first.

    What lies at or after `visits[q]` belongs to the current visit; `nows` are epoch seconds.
    """

    items: Numbers
    times: NDArray[np.float64]
    kind: int
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    visits: NDArray[np.int64]
    nows: NDArray[np.float64]
    known: bool = True

    def __len__(self) -> int:
        return len(self.begins)

    def of(self, rows: NDArray[np.integer]) -> EvalQueries:
        """Some of the questions, in the order of `rows`."""
        return replace(
            self,
            begins=self.begins[rows],
            ends=self.ends[rows],
            visits=self.visits[rows],
            nows=self.nows[rows],
        )

    def queries(self, weighting: Weighting) -> list[Query]:
        """The questions as the service would ask them: each at its own `now`."""
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
        return build_query(
            PersonFacts(CUSTOMER if self.known else VISITOR, rows), settings, now=now
        )


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """`truth[q]` answers question q; `hidden[q]` may not stand in its list."""

    data: TrainingData
    questions: EvalQueries
    truth: Sequence[Numbers]
    hidden: Sequence[Numbers]

    def __len__(self) -> int:
        return len(self.questions)

    def sampled(self, most: int, *, rng: Generator) -> BenchmarkTask:
        """At most so many of the questions, drawn by `rng`."""
        if len(self) <= most:
            return self
        return self.part(np.sort(rng.choice(len(self), size=most, replace=False)))

    def part(self, rows: NDArray[np.integer]) -> BenchmarkTask:
        """Some of the questions, in the order of `rows`."""
        return BenchmarkTask(
            self.data,
            self.questions.of(rows),
            [self.truth[row] for row in rows.tolist()],
            [self.hidden[row] for row in rows.tolist()],
        )


@dataclass(slots=True)
class Weighings:
    """Training data under several half-lives, each made once."""

    data: TrainingData
    _made: dict[float | None, TrainingData] = field(default_factory=dict)

    def at(self, half_life_days: float | None) -> TrainingData:
        """The same acts, weighed with that half-life; None forgets nothing."""
        if half_life_days is None:
            return self.data
        if half_life_days not in self._made:
            weighting = self.data.weighting.model_copy(update={"half_life_days": half_life_days})
            self._made[half_life_days] = replace(
                self.data,
                weighting=weighting,
                interactions=decayed_interactions(self.data, half_life_days=half_life_days),
            )
        return self._made[half_life_days]


def training_data(
    acts: InteractionTable,
    *,
    n_users: int,
    items: Vocabulary,
    kind: EventKind,
    as_of: datetime = AS_OF,
    described: Sequence[Item] = (),
    baskets: bool = False,
) -> TrainingData:
    """Training data straight from arrays: every act weighs 1, whenever it was.

    With `baskets` each event is a basket of the data as well.
    """
    number, n_items = KIND_NUMBER[kind], len(items)
    ones = np.ones(len(acts), np.float32)
    interactions = csr_array((ones, (acts.users, acts.items)), shape=(n_users, n_items))
    interactions.sum_duplicates()
    days = np.floor(acts.times / SECONDS_PER_DAY).astype(np.int64)
    cells, counts = np.unique(days * n_items + acts.items, return_counts=True)
    return TrainingData(
        as_of=as_of,
        users=Vocabulary([f"u:{user}" for user in range(n_users)]),
        items=items,
        interactions=interactions,
        timeline=Timeline(
            np.searchsorted(acts.users, np.arange(n_users + 1)).astype(np.int64),
            acts.users,
            acts.items,
            np.full(len(acts), number, np.int8),
            acts.times,
            acts.events,
            acts.sessions,
        ),
        baskets=_baskets(acts, n_items) if baskets else _no_baskets(n_items),
        popularity=Popularity(
            (cells % n_items).astype(np.int32),
            np.full(len(cells), number, np.int8),
            (cells // n_items) * SECONDS_PER_DAY,
            np.full(len(cells), -1, np.int32),
            counts.astype(np.float64),
            Vocabulary([]),
        ),
        catalog=Catalog.of(described, items),
        profiles=(UNKNOWN,) * n_users,
        weighting=Weighting(kind_weights={EVENT_KINDS[number]: 1.0}, half_life_days=LASTING),
    )


def no_hidden(n: int) -> list[Numbers]:
    """Nothing hidden from any of n lists."""
    return [NONE] * n


def _baskets(acts: InteractionTable, n_items: int) -> Baskets:
    _, first, rows = np.unique(acts.events, return_index=True, return_inverse=True)
    ones = np.ones(len(acts), np.float32)
    matrix = csr_array((ones, (rows, acts.items)), shape=(len(first), n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return Baskets(matrix, acts.users[first], acts.times[first])


def _no_baskets(n_items: int) -> Baskets:
    return Baskets(csr_array((0, n_items), dtype=np.float32), NONE, np.empty(0))
