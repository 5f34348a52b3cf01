"""The compiled part of the features: one pass over a history, one over the candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.ids import Numbers

DAY = 86_400.0


class Asked(NamedTuple):
    """A batch of queries: row r has the candidates `items[starts[r]:starts[r + 1]]`, ascending."""

    starts: NDArray[np.int64]
    items: Numbers
    nows: NDArray[np.float64]


class Past(NamedTuple):
    """Their histories, oldest first: row r is `starts[r]:starts[r + 1]` of every array."""

    starts: NDArray[np.int64]
    items: Numbers
    bought: NDArray[np.bool_]
    times: NDArray[np.float64]
    weights: NDArray[np.float32]


class Known(NamedTuple):
    """The arrays of `ItemFacts`, and how many categories and brands there are."""

    prices: NDArray[np.float32]
    categories: NDArray[np.int32]
    brands: NDArray[np.int32]
    demand_7: NDArray[np.float32]
    demand_30: NDArray[np.float32]
    demand: NDArray[np.float32]
    first_seen: NDArray[np.float64]
    rebuy_rates: NDArray[np.float32]
    intervals: NDArray[np.float32]
    n_categories: int
    n_brands: int


@njit(cache=True, nogil=True)
def fill(out: NDArray[np.float32], asked: Asked, past: Past, known: Known) -> None:
    """Writes every column of `features.COLUMNS` for every candidate, in that order."""
    in_category = np.zeros(known.n_categories, np.float64)
    in_brand = np.zeros(known.n_brands, np.float64)
    for row in range(len(asked.nows)):
        now = asked.nows[row]
        lines = out[asked.starts[row] : asked.starts[row + 1]]
        mine = asked.items[asked.starts[row] : asked.starts[row + 1]]
        begin, end = past.starts[row], past.starts[row + 1]
        invoices = _fill_personal(lines[:, :12], mine, now, past, begin, end, known)
        said = _add_affinities(in_category, in_brand, past, begin, end, known, 1.0)
        price_habit, demand_habit = _habits(past, begin, end, known)
        for place in range(len(mine)):
            _fill_item(lines[place, 12:21], mine[place], now, known)
            item = mine[place]
            of_taste = lines[place, 21:25]
            price = known.prices[item]
            of_taste[0] = np.log(price) - price_habit if price > 0 else np.nan
            of_taste[1] = np.log1p(known.demand_30[item]) - demand_habit
            category, brand = known.categories[item], known.brands[item]
            of_taste[2] = in_category[category] / said if category >= 0 and said > 0 else np.nan
            of_taste[3] = in_brand[brand] / said if brand >= 0 and said > 0 else np.nan
        _fill_query(lines[:, 25:], now, past, begin, end, invoices)
        _add_affinities(in_category, in_brand, past, begin, end, known, 0.0)


@njit(cache=True, nogil=True)
def _fill_personal(
    lines: NDArray[np.float32],
    mine: Numbers,
    now: float,
    past: Past,
    begin: int,
    end: int,
    known: Known,
) -> int:
    """What this person did with each candidate; gives the number of invoices.

    Purchases at one moment are one invoice, and an item counts once in it.
    """
    n = len(mine)
    counts, others = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last, touched = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    first_invoice, last_invoice = np.zeros(n, np.int64), np.zeros(n, np.int64)
    weight = np.zeros(n, np.float64)
    invoices, invoice_time = 0, np.nan
    for event in range(begin, end):
        time = past.times[event]
        if past.bought[event] and time != invoice_time:
            invoices += 1
            invoice_time = time
        place = np.searchsorted(mine, past.items[event])
        if place == n or mine[place] != past.items[event]:
            continue
        touched[place] = time
        weight[place] += past.weights[event]
        if not past.bought[event]:
            others[place] += 1
        elif counts[place] == 0 or last_invoice[place] != invoices:
            if counts[place] == 0:
                first[place], first_invoice[place] = time, invoices
            counts[place] += 1
            last[place], last_invoice[place] = time, invoices
    for place in range(n):
        count = counts[place]
        age = (now - last[place]) / DAY
        own = (last[place] - first[place]) / DAY / (count - 1) if count > 1 else np.nan
        line = lines[place]
        line[0] = count
        line[1] = weight[place]
        line[2] = count / invoices if invoices > 0 else 0.0
        line[3] = count / (invoices - first_invoice[place] + 1) if count > 0 else 0.0
        line[4] = invoices - last_invoice[place] if count > 0 else np.nan
        line[5] = age
        line[6] = (now - first[place]) / DAY
        line[7] = own
        line[8] = age / own
        line[9] = age / known.intervals[mine[place]]
        line[10] = others[place]
        line[11] = (now - touched[place]) / DAY
    return invoices


@njit(cache=True, nogil=True)
def _fill_item(line: NDArray[np.float32], item: int, now: float, known: Known) -> None:
    week, month, ever = known.demand_7[item], known.demand_30[item], known.demand[item]
    age = (now - known.first_seen[item]) / DAY
    line[0] = np.log1p(week)
    line[1] = np.log1p(month)
    line[2] = np.log1p(ever)
    line[3] = np.log((week + 1.0) / (month * 7.0 / 30.0 + 1.0))
    line[4] = np.log((month + 1.0) / (ever * 30.0 / max(age, 30.0) + 1.0))
    line[5] = age
    line[6] = known.rebuy_rates[item]
    line[7] = known.intervals[item]
    line[8] = known.prices[item]


@njit(cache=True, nogil=True)
def _add_affinities(
    in_category: NDArray[np.float64],
    in_brand: NDArray[np.float64],
    past: Past,
    begin: int,
    end: int,
    known: Known,
    factor: float,
) -> float:
    """Adds the history's weights to its categories and brands, or with factor 0 clears them;
    gives the sum of the weights."""
    said = 0.0
    for event in range(begin, end):
        item = past.items[event]
        weight = max(past.weights[event], np.float32(0.0))
        said += weight
        category, brand = known.categories[item], known.brands[item]
        if category >= 0:
            in_category[category] = factor * (in_category[category] + weight)
        if brand >= 0:
            in_brand[brand] = factor * (in_brand[brand] + weight)
    return said


@njit(cache=True, nogil=True)
def _habits(past: Past, begin: int, end: int, known: Known) -> tuple[float, float]:
    """The means over the history of the log price and of the log demand; NaN without any."""
    prices, priced, demand = 0.0, 0, 0.0
    for event in range(begin, end):
        item = past.items[event]
        if known.prices[item] > 0:
            prices += np.log(known.prices[item])
            priced += 1
        demand += np.log1p(known.demand_30[item])
    size = end - begin
    return (prices / priced if priced > 0 else np.nan, demand / size if size > 0 else np.nan)


@njit(cache=True, nogil=True)
def _fill_query(
    lines: NDArray[np.float32], now: float, past: Past, begin: int, end: int, invoices: int
) -> None:
    """What is the same for every candidate of a query."""
    items, bought = past.items[begin:end], past.bought[begin:end]
    times = past.times[begin:end][bought]
    n_lines = len(times)
    span = (times[-1] - times[0]) / DAY if n_lines > 0 else np.nan
    lines[:, 0] = end - begin
    lines[:, 1] = len(np.unique(items))
    lines[:, 2] = invoices
    lines[:, 3] = (now - times[-1]) / DAY if n_lines > 0 else np.nan
    lines[:, 4] = span / (invoices - 1) if invoices > 1 else np.nan
    lines[:, 5] = n_lines / invoices if n_lines > 0 else np.nan
    lines[:, 6] = 1.0 - len(np.unique(items[bought])) / n_lines if n_lines > 0 else np.nan
