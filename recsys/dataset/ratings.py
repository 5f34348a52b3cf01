"""`Ratings`: what customers thought of items, one rating for each customer and item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from recsys.ids import NONE, Numbers


@dataclass(frozen=True, slots=True)
class Ratings:
    """Parallel arrays, one row per customer and item: the newest rating that was given.

    `values` are on the shop's own scale. Ratings of nobody in particular are left out.
    """

    users: Numbers
    items: Numbers
    values: NDArray[np.float64]


def no_ratings() -> Ratings:
    """The ratings of a shop where nobody rates."""
    return Ratings(NONE, NONE, np.empty(0, np.float64))


def read_ratings(connection: duckdb.DuckDBPyConnection) -> Ratings:
    """The ratings in `item_events`, with the tables `users` and `items` of the training data."""
    table = connection.sql(RATINGS_SQL).to_arrow_table()
    return Ratings(
        users=table["user"].to_numpy().astype(np.int32),
        items=table["item"].to_numpy().astype(np.int32),
        values=table["value"].to_numpy().astype(np.float64),
    )


# Of two ratings at one moment, the one with the later event id stands.
RATINGS_SQL: Final = """
SELECT u.number AS "user", i.number AS item,
    arg_max(rating, (timestamp, event_id, position)) AS value
FROM item_events JOIN items i USING (item_id) JOIN users u USING (person)
WHERE kind = 'rate' AND rating IS NOT NULL
GROUP BY ALL ORDER BY 1, 2
"""
