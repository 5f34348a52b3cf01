"""Features of (query, item) for the ranker: the same code when training and when serving.

`item_facts(data)` holds the features of the items as of one moment; `feature_matrix` adds those
of each (query, candidate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Array, Numbers
from recsys.query.query import Query
from recsys.ranking.feature_kernel import CandidateRows, HistoryRows, ItemArrays, fill

COLUMNS: Final = (
    # of the user and the item
    "purchases",
    "decayed weight",
    "share of invoices",
    "share of invoices since the first",
    "invoices since the last",
    "days since last purchase",
    "days since first purchase",
    "own interval",
    "due by own interval",
    "due by interval of the item",
    "other events",
    "days since last event",
    # of the item
    "demand of 7 days",
    "demand of 30 days",
    "demand",
    "momentum of 7 days",
    "momentum of 30 days",
    "item age",
    "rebuy rate",
    "interval of the item",
    "price",
    # of this item against the user's usual choices
    "price beside habit",
    "demand beside habit",
    "category affinity",
    "brand affinity",
    # of the user
    "history size",
    "distinct items",
    "invoices",
    "days since last invoice",
    "days between invoices",
    "lines per invoice",
    "rebuy share",
)
"""Counts and days; demand and momentum are logarithms, an interval is in days, due is age over
interval, affinities and shares are fractions."""
PRIOR: Final = 5.0
"""Customers (or intervals) at the shop's average that are mixed into an item's own."""


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """Features of each item as of one moment: parallel arrays over the bundle's row numbers.

    `demand*` are weighted counts of events of everybody in the last 7 and 30 days and ever;
    `first_seen` is epoch seconds, NaN where the item has no event; `rebuy_rates` the share of its
    customers who bought it twice, `intervals` the geometric mean of days between two purchases by
    one person, both shrunk to the shop's; `prices` NaN, `categories` and `brands` −1 where unknown.
    """

    prices: NDArray[np.float32]
    categories: NDArray[np.int32]
    brands: NDArray[np.int32]
    demand_7: NDArray[np.float32]
    demand_30: NDArray[np.float32]
    demand: NDArray[np.float32]
    first_seen: NDArray[np.float64]
    rebuy_rates: NDArray[np.float32]
    intervals: NDArray[np.float32]

    @classmethod
    def empty(cls) -> ItemFacts:
        """Those of no items."""
        none, codes = np.empty(0, np.float32), np.empty(0, np.int32)
        return cls(none, codes, codes, none, none, none, np.empty(0), none, none)

    def arrays(self) -> Mapping[str, Array]:
        """The saved form."""
        return {column.name: getattr(self, column.name) for column in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> ItemFacts:
        """The facts that were saved; BundleError where an array is missing or misshapen."""
        columns = {}
        for column in fields(cls):
            array = arrays.get(column.name)
            if array is None or array.ndim != 1 or len(array) != len(arrays["prices"]):
                raise BundleError(f"Item facts lack the array {column.name!r}, or it is misshapen.")
            columns[column.name] = array
        return cls(**columns)

    def item_arrays(self) -> ItemArrays:
        """The same arrays as the compiled code reads them."""
        return ItemArrays(
            np.asarray(self.prices),
            np.asarray(self.categories),
            np.asarray(self.brands),
            np.asarray(self.demand_7),
            np.asarray(self.demand_30),
            np.asarray(self.demand),
            np.asarray(self.first_seen),
            np.asarray(self.rebuy_rates),
            np.asarray(self.intervals),
            int(self.categories.max(initial=-1)) + 1,
            int(self.brands.max(initial=-1)) + 1,
        )


def item_facts(data: TrainingData) -> ItemFacts:
    """The features of the items as of the training data's moment."""
    days_ago = (data.as_of.timestamp() - data.popularity.days) / SECONDS_PER_DAY
    weights = np.maximum(data.weighting.by_number()[data.popularity.kinds], 0.0)
    counts = data.popularity.counts * weights
    items, n_items = data.popularity.items, len(data.items)

    def demand(days: float) -> NDArray[np.float32]:
        # A day that began up to `days` ago counts whole.
        recent = days_ago <= days
        return np.bincount(items[recent], counts[recent], minlength=n_items).astype(np.float32)

    first_seen = np.full(n_items, np.inf)
    np.minimum.at(first_seen, items, data.popularity.days)
    rates, intervals = _repetition(data)
    return ItemFacts(
        prices=data.catalog.prices,
        categories=data.catalog.categories,
        brands=data.catalog.brands,
        demand_7=demand(7.0),
        demand_30=demand(30.0),
        demand=demand(np.inf),
        first_seen=np.where(np.isfinite(first_seen), first_seen, np.nan),
        rebuy_rates=rates,
        intervals=intervals,
    )


def _repetition(data: TrainingData) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """rate = (customers with ≥ 2 purchases + prior · mean) / (customers + prior), and
    interval = exp((Σ log days + prior · mean log) / (gaps + prior))."""
    timeline, n_items = data.timeline, len(data.items)
    chosen = timeline.kinds == PURCHASE
    pairs = timeline.users[chosen].astype(np.int64) * n_items + timeline.items[chosen]
    times = timeline.times[chosen]
    order = np.lexsort((times, pairs))
    pairs, times = pairs[order], times[order]
    same = pairs[1:] == pairs[:-1]
    gaps = (times[1:] - times[:-1]) / SECONDS_PER_DAY
    apart = same & (gaps > 0)
    of_gap = pairs[1:][apart] % n_items
    logs = np.log(np.maximum(gaps[apart], 0.5))
    n_gaps = np.bincount(of_gap, minlength=n_items)
    sums = np.bincount(of_gap, logs, minlength=n_items)
    mean_log = float(logs.mean()) if len(logs) else np.log(30.0)
    customers = np.bincount(np.unique(pairs) % n_items, minlength=n_items)
    again = np.bincount(np.unique(pairs[1:][apart]) % n_items, minlength=n_items)
    mean = again.sum() / max(int(customers.sum()), 1)
    rates = (again + PRIOR * mean) / (customers + PRIOR)
    intervals = np.exp((sums + PRIOR * mean_log) / (n_gaps + PRIOR))
    return rates.astype(np.float32), intervals.astype(np.float32)


def feature_matrix(
    facts: ItemFacts, queries: Sequence[Query], candidates: Sequence[Numbers]
) -> NDArray[np.float32]:
    """One row per candidate, query after query, one column per name in COLUMNS.

    `candidates` are ascending item numbers, one array per query. NaN where a feature does not
    apply (never bought, price unknown).
    """
    histories = [query.history for query in queries]
    rows = CandidateRows(
        _starts(candidates),
        _joined(candidates, np.int32),
        np.array([query.now.timestamp() for query in queries], np.float64),
    )
    events = HistoryRows(
        _starts([history.items for history in histories]),
        _joined([history.items for history in histories], np.int32),
        _joined([history.kinds for history in histories], np.int8) == PURCHASE,
        _joined([history.times for history in histories], np.float64),
        _joined([history.weights for history in histories], np.float32),
    )
    matrix = np.empty((len(rows.items), len(COLUMNS)), np.float32)
    fill(matrix, rows, events, facts.item_arrays())
    return matrix


def _joined(parts: Sequence[Array], dtype: DTypeLike) -> Array:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _starts(parts: Sequence[Array]) -> NDArray[np.int64]:
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return starts
