"""`Impressions`: the lists that result and listing pages showed, with the outcome of each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from recsys.ids import Numbers, Vocabulary

NOT_TAKEN: Final = 0
CLICKED: Final = 1
IN_CART: Final = 2
BOUGHT: Final = 3


@dataclass(frozen=True, slots=True)
class Impressions:
    """Shown lists (search results and listing pages), oldest first.

    Rows of list l are `starts[l]:starts[l + 1]`, the first position first. Per list: `terms`, codes
    into `term_names` (−1 for a page without a search), `users` (−1 unknown), `visits`, which number
    the visits, and `times` in epoch seconds. Per row: `items`, `positions` from 0, and `outcomes`,
    the furthest that the visit went with the item after seeing this list and before seeing the item
    in another one: NOT_TAKEN, CLICKED, IN_CART or BOUGHT.
    """

    starts: NDArray[np.int64]
    terms: NDArray[np.int32]
    users: Numbers
    visits: NDArray[np.int64]
    times: NDArray[np.float64]
    items: Numbers
    positions: NDArray[np.int32]
    outcomes: NDArray[np.int8]
    term_names: Vocabulary

    def __len__(self) -> int:
        return len(self.terms)

    def of_rows(self) -> NDArray[np.int64]:
        """The list that each row belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


def no_impressions() -> Impressions:
    """No lists."""
    codes, numbers = np.empty(0, np.int32), np.empty(0, np.int64)
    return Impressions(
        starts=np.zeros(1, np.int64),
        terms=codes,
        users=codes,
        visits=numbers,
        times=np.empty(0, np.float64),
        items=codes,
        positions=codes,
        outcomes=np.empty(0, np.int8),
        term_names=Vocabulary([]),
    )


def plain_term(text: str) -> str:
    """A search text as terms are compared: lower case, single spaces."""
    return " ".join(text.lower().split())


def read_impressions(connection: duckdb.DuckDBPyConnection, *, gap: timedelta) -> Impressions:
    """The lists in `item_events`; the tables `users` and `items` of the training data must exist.

    Without a session id, an action counts within `gap` of the list.
    """
    columns = connection.sql(IMPRESSIONS_SQL.format(gap=gap.total_seconds())).to_arrow_table()
    terms = [str(row[0]) for row in connection.execute(TERMS_SQL + " ORDER BY number").fetchall()]
    return _lists({name: columns[name].to_numpy() for name in columns.column_names}, terms)


TERMS_SQL: Final = """
SELECT search_term AS term, row_number() OVER (ORDER BY search_term) - 1 AS number
FROM (SELECT DISTINCT search_term FROM item_events
      WHERE kind = 'view_item_list' AND search_term IS NOT NULL)
"""

# An action is the outcome of the newest list in which the same visit saw the item. Lists without
# session and person have no known outcome and are left out.
IMPRESSIONS_SQL: Final = f"""
WITH seen AS (
    SELECT event_id AS list, coalesce('s:' || session_id, person) AS visit, session_id IS NOT NULL
        AS has_session, person, item_id, search_term AS term, epoch(timestamp) AS time,
        coalesce(list_index, position) AS list_position, kind
    FROM item_events
    WHERE coalesce(session_id, person) IS NOT NULL
        AND kind IN ('view_item_list', 'select_item', 'view_item', 'add_to_cart', 'purchase')
), shown AS (
    SELECT list, visit, item_id, any_value(person) AS person, any_value(term) AS term,
        min(time) AS time, min(list_position) AS list_position
    FROM seen WHERE kind = 'view_item_list' GROUP BY list, visit, item_id
), outcomes AS (
    SELECT s.list, s.item_id, max(CASE a.kind
        WHEN 'purchase' THEN {BOUGHT} WHEN 'add_to_cart' THEN {IN_CART} ELSE {CLICKED} END)
        AS outcome
    FROM seen a ASOF JOIN shown s
        ON a.visit = s.visit AND a.item_id = s.item_id AND a.time >= s.time
    WHERE a.kind <> 'view_item_list' AND (a.has_session OR a.time - s.time <= {{gap}})
    GROUP BY s.list, s.item_id
)
SELECT dense_rank() OVER (ORDER BY s.time, s.list) - 1 AS list,
    dense_rank() OVER (ORDER BY s.visit) - 1 AS visit, coalesce(u.number, -1) AS "user",
    coalesce(t.number, -1) AS term, s.time, i.number AS item, s.list_position AS position,
    coalesce(o.outcome, {NOT_TAKEN})::TINYINT AS outcome
FROM shown s JOIN items i USING (item_id)
    LEFT JOIN users u USING (person) LEFT JOIN ({TERMS_SQL}) t USING (term)
    LEFT JOIN outcomes o ON o.list = s.list AND o.item_id = s.item_id
ORDER BY list, position, item
"""


def _lists(columns: dict[str, NDArray[np.generic]], terms: Sequence[str]) -> Impressions:
    """The lists; terms that differ in case and spaces alone are one."""
    numbers = np.asarray(columns["list"], np.int64)
    n_lists = int(numbers[-1]) + 1 if len(numbers) else 0
    starts = np.searchsorted(numbers, np.arange(n_lists + 1)).astype(np.int64)
    first = starts[:-1]
    plain = [plain_term(term) for term in terms]
    names = Vocabulary.of(plain)
    codes = np.concatenate([names.numbers(plain), [-1]]).astype(np.int32)
    return Impressions(
        starts=starts,
        terms=codes[np.asarray(columns["term"], np.int64)[first]],
        users=np.asarray(columns["user"], np.int32)[first],
        visits=np.asarray(columns["visit"], np.int64)[first],
        times=np.asarray(columns["time"], np.float64)[first],
        items=np.asarray(columns["item"], np.int32),
        positions=np.asarray(columns["position"], np.int32),
        outcomes=np.asarray(columns["outcome"], np.int8),
        term_names=names,
    )
