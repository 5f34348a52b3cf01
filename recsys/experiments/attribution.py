"""Attribution of outcomes to logged answers: which clicks, carts and purchases followed from which.

A click belongs to the answer whose `recommendation_id` it carries. A cart or a purchase belongs to
the answer that it names, else to the newest that showed the item to that person within a window.
Orders of every person who received an answer are included, whatever was in them. Persons whose
consent does not cover analytics are left out altogether.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.events.log import EventLog, rows
from recsys.events.schema import Event
from recsys.events.views import open_log
from recsys.ids import USER_PREFIX, VISITOR_PREFIX, Numbers, Vocabulary
from recsys.store.protocol import LoggedAnswer, Store

PART: Final = 5000
"""Answers that are turned into columns at once."""
_ANSWER_SCHEMA: Final = pa.schema(
    [
        ("number", pa.int32()),
        ("time", pa.float64()),
        ("recommendation_id", pa.string()),
        ("person", pa.string()),
        ("placement", pa.string()),
        ("variant", pa.string()),
        ("model_version", pa.string()),
    ]
)
_SHOWN_SCHEMA: Final = pa.schema([("answer", pa.int32()), ("item_id", pa.string())])

CLOCKS: Final = 300.0
"""Seconds by which a shop's clock may be behind the service's."""


class AttributionRules(BaseModel):
    """How long after an answer an outcome is attributed to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_days: float = Field(default=7.0, gt=0, le=90)


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders of persons who received answers: who, when (epoch seconds), how much (by the events'
    prices). Parallel arrays, oldest first."""

    persons: Numbers
    times: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Attributed:
    """Answers with their outcomes, and the orders of the persons who received them.

    One row per answer (one placement of one request), oldest first: `times` in epoch seconds, codes
    into the three vocabularies, `persons` (numbers that are valid within this value alone; −1 where
    the answer has no person), whether anything in it was seen (where the shop reports that),
    clicked, put into a cart or bought, and for how much.
    """

    times: NDArray[np.float64]
    placements: Numbers
    variants: Numbers
    versions: Numbers
    persons: Numbers
    seen: NDArray[np.bool_]
    clicked: NDArray[np.bool_]
    carted: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    revenue: NDArray[np.float64]
    orders: Orders
    placement_names: Vocabulary
    variant_names: Vocabulary
    version_names: Vocabulary

    def __len__(self) -> int:
        return len(self.times)


def attribute(
    log: EventLog,
    answers: Iterable[LoggedAnswer],
    *,
    since: datetime,
    until: datetime,
    waiting: Sequence[Event] = (),
    denied: Collection[str] = (),
    unmeasured: Collection[str] = (),
    rules: AttributionRules | None = None,
    threads: int | None = None,
) -> Attributed:
    """What followed from these answers in [since, until). They are read once, one by one, so that
    a year of them need not lie in memory.

    `waiting` are events that are not in the log yet. A visitor who has logged in is the customer;
    answers and orders of `denied` persons are treated as anonymous; those of `unmeasured` persons,
    whose consent does not cover analytics, are left out.
    """
    window = timedelta(days=(rules or AttributionRules()).window_days)
    gathered = _gathered(answers)
    connection = open_log(
        log, since=since, until=until, denied=denied, waiting=rows(waiting), threads=threads
    )
    with connection:
        connection.register("answer_rows", gathered.answers)
        connection.register("shown_rows", gathered.shown)
        connection.execute(
            "CREATE TABLE unmeasured AS SELECT unnest(?::VARCHAR[]) AS person", [sorted(unmeasured)]
        )
        connection.execute(ANSWERED_SQL)
        connection.execute(OUTCOMES_SQL.format(window=window.total_seconds(), clocks=CLOCKS))
        outcomes = _columns(connection.sql(ANSWERS_SQL).to_arrow_table())
        orders = _columns(connection.sql(ORDERS_SQL).to_arrow_table())
    order = np.argsort(outcomes["time"], kind="stable")
    numbers = outcomes["number"][order]
    return Attributed(
        times=np.asarray(outcomes["time"], np.float64)[order],
        placements=gathered.placements.codes[numbers],
        variants=gathered.variants.codes[numbers],
        versions=gathered.versions.codes[numbers],
        persons=np.asarray(outcomes["person"], np.int32)[order],
        seen=np.asarray(outcomes["seen"], np.bool_)[order],
        clicked=np.asarray(outcomes["clicked"], np.bool_)[order],
        carted=np.asarray(outcomes["carted"], np.bool_)[order],
        bought=np.asarray(outcomes["bought"], np.bool_)[order],
        revenue=np.asarray(outcomes["revenue"], np.float64)[order],
        orders=Orders(
            persons=np.asarray(orders["person"], np.int32),
            times=np.asarray(orders["time"], np.float64),
            values=np.asarray(orders["value"], np.float64),
        ),
        placement_names=gathered.placements.names,
        variant_names=gathered.variants.names,
        version_names=gathered.versions.names,
    )


def read_attributed(
    store: Store,
    log: EventLog,
    *,
    since: datetime,
    until: datetime,
    rules: AttributionRules | None = None,
    threads: int | None = None,
) -> Attributed:
    """What followed from the answers that the store logged in [since, until), from the event log
    and the events that are not archived yet. Persons whose latest consent on record does not cover
    analytics are left out. Nothing is written."""
    # Read before the log: what is archived meanwhile is then read twice, and counted once.
    waiting = store.waiting()
    return attribute(
        log,
        store.each_answer(since=since, until=until),
        since=since,
        until=until,
        waiting=waiting,
        denied=store.denied(),
        unmeasured=store.unmeasured(),
        rules=rules,
        threads=threads,
    )


# Whoever was anonymous when the answer was given may have logged in by now.
ANSWERED_SQL: Final = f"""
CREATE TABLE answered AS
SELECT number, time, recommendation_id,
    CASE WHEN person IS NULL THEN -1 ELSE dense_rank() OVER (ORDER BY person NULLS LAST) - 1 END
        ::INTEGER AS person_number,
    person
FROM (
    SELECT a.number, a.time, a.recommendation_id,
        CASE WHEN d.person IS NULL THEN a.person END AS person
    FROM (
        SELECT r.number, r.time, r.recommendation_id,
            coalesce('{USER_PREFIX}' || o.user_id, r.person) AS person
        FROM answer_rows r LEFT JOIN identities o ON '{VISITOR_PREFIX}' || o.anonymous_id = r.person
            AND to_timestamp(r.time) >= o.since AND to_timestamp(r.time) < o.until
    ) a LEFT JOIN denied d ON d.person = a.person
    WHERE a.person IS NULL OR a.person NOT IN (SELECT person FROM unmeasured)
);
CREATE TABLE shown AS
SELECT s.answer, s.item_id, a.time, a.recommendation_id, a.person
FROM shown_rows s JOIN answered a ON a.number = s.answer;
"""

# An event counts once: for the answer that it names where that showed the item, else (but a look
# and a click) for the newest that showed it to the person.
OUTCOMES_SQL: Final = f"""
CREATE TEMP VIEW measured_events AS
SELECT e.* FROM person_events e LEFT JOIN unmeasured u ON u.person = CASE
    WHEN e.user_id IS NOT NULL THEN '{USER_PREFIX}' || e.user_id
    ELSE coalesce(e.person, '{VISITOR_PREFIX}' || e.anonymous_id) END
WHERE u.person IS NULL;
CREATE TABLE acts AS
SELECT row_number() OVER () AS act, kind, person, item_id, epoch(timestamp) AS time,
    recommendation_id, quantity * coalesce(price, 0) AS value
FROM measured_events
WHERE item_id IS NOT NULL
    AND kind IN ('view_item_list', 'select_item', 'view_item', 'add_to_cart', 'purchase');
CREATE TABLE named AS
SELECT act, min(answer) AS answer
FROM acts JOIN shown s USING (recommendation_id, item_id)
WHERE acts.time BETWEEN s.time - {{clocks}} AND s.time + {{window}}
GROUP BY act;
CREATE TABLE outcomes AS
SELECT n.answer, acts.kind, acts.value FROM named n JOIN acts USING (act)
UNION ALL
SELECT s.answer, a.kind, a.value
FROM (
    SELECT * FROM acts ANTI JOIN named USING (act)
    WHERE kind IN ('add_to_cart', 'purchase') AND person IS NOT NULL
) a ASOF JOIN (SELECT * FROM shown WHERE person IS NOT NULL) s
    ON a.person = s.person AND a.item_id = s.item_id AND a.time >= s.time
WHERE a.time - s.time <= {{window}};
"""

ANSWERS_SQL: Final = """
SELECT a.number, a.time, a.person_number AS person,
    coalesce(bool_or(o.kind = 'view_item_list'), false) AS seen,
    coalesce(bool_or(o.kind IN ('select_item', 'view_item')), false) AS clicked,
    coalesce(bool_or(o.kind = 'add_to_cart'), false) AS carted,
    coalesce(bool_or(o.kind = 'purchase'), false) AS bought,
    coalesce(sum(o.value) FILTER (o.kind = 'purchase'), 0)::DOUBLE AS revenue
FROM answered a LEFT JOIN outcomes o ON o.answer = a.number
GROUP BY ALL ORDER BY a.number
"""

ORDERS_SQL: Final = """
SELECT p.person_number AS person, epoch(min(e.timestamp)) AS time,
    coalesce(sum(e.quantity * e.price), 0)::DOUBLE AS value
FROM measured_events e
    JOIN (SELECT DISTINCT person, person_number FROM answered WHERE person IS NOT NULL) p
    USING (person)
WHERE e.kind = 'purchase'
GROUP BY p.person_number, e.basket ORDER BY time, person
"""


@dataclass(frozen=True, slots=True)
class _Coded:
    """A column of text as codes into their vocabulary."""

    names: Vocabulary
    codes: Numbers

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> _Coded:
        names = Vocabulary.of(column.unique().to_pylist())
        dictionary = column.combine_chunks().dictionary_encode()
        places = names.numbers(dictionary.dictionary.to_pylist())
        return cls(names, places[dictionary.indices.to_numpy(zero_copy_only=False)])


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The answers as tables: one row per answer, one row per item shown."""

    answers: pa.Table
    shown: pa.Table
    placements: _Coded
    variants: _Coded
    versions: _Coded


def _gathered(answers: Iterable[LoggedAnswer]) -> _Gathered:
    tables: list[pa.Table] = [_ANSWER_SCHEMA.empty_table()]
    shown: list[pa.Table] = [_SHOWN_SCHEMA.empty_table()]
    number = 0
    for part in _batched(answers, PART):
        tables.append(
            pa.Table.from_arrays(
                [
                    pa.array(range(number, number + len(part)), pa.int32()),
                    pa.array([answer.time for answer in part], pa.float64()),
                    *(
                        pa.array([getattr(answer, name) for answer in part], pa.string())
                        for name in _ANSWER_SCHEMA.names[2:]
                    ),
                ],
                schema=_ANSWER_SCHEMA,
            )
        )
        lengths = [len(answer.item_ids) for answer in part]
        numbers = np.arange(number, number + len(part), dtype=np.int32)
        ids = pa.array([id for answer in part for id in answer.item_ids], pa.string())
        columns = [pa.array(np.repeat(numbers, lengths)), ids]
        shown.append(pa.Table.from_arrays(columns, schema=_SHOWN_SCHEMA))
        number += len(part)
    table = pa.concat_tables(tables)
    return _Gathered(
        answers=table,
        shown=pa.concat_tables(shown),
        placements=_Coded.of(table["placement"]),
        variants=_Coded.of(table["variant"]),
        versions=_Coded.of(table["model_version"]),
    )


def _batched(answers: Iterable[LoggedAnswer], size: int) -> Iterator[Sequence[LoggedAnswer]]:
    source = iter(answers)
    while part := list(islice(source, size)):
        yield part


def _columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    return {name: table[name].to_numpy() for name in table.column_names}
