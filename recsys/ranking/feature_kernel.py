"""Compiled kernels of the ranker's features: one pass over a history, one over the candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.ids import Numbers

DAY = 86_400.0


class CandidateRows(NamedTuple):
    """The candidates of a batch: row r has `items[starts[r]:starts[r + 1]]`, ascending."""

    starts: NDArray[np.int64]
    items: Numbers
    nows: NDArray[np.float64]


class HistoryRows(NamedTuple):
    """The histories of a batch, oldest first: row r is `starts[r]:starts[r + 1]` of every array."""

    starts: NDArray[np.int64]
    items: Numbers
    bought: NDArray[np.bool_]
    times: NDArray[np.float64]
    weights: NDArray[np.float32]


class ItemArrays(NamedTuple):
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
def fill(
    out: NDArray[np.float32], queries: CandidateRows, histories: HistoryRows, facts: ItemArrays
) -> None:
    """Writes every column of `features.COLUMNS` for every candidate, in that order."""
    in_category = np.zeros(facts.n_categories, np.float64)
    in_brand = np.zeros(facts.n_brands, np.float64)
    for row in range(len(queries.nows)):
        now = queries.nows[row]
        lines = out[queries.starts[row] : queries.starts[row + 1]]
        mine = queries.items[queries.starts[row] : queries.starts[row + 1]]
        begin, end = histories.starts[row], histories.starts[row + 1]
        invoices = _fill_personal(lines[:, :12], mine, now, histories, begin, end, facts)
        total = _add_affinities(in_category, in_brand, histories, begin, end, facts, 1.0)
        mean_log_price, mean_log_demand = _mean_logs(histories, begin, end, facts)
        for index in range(len(mine)):
            _fill_item(lines[index, 12:21], mine[index], now, facts)
            item = mine[index]
            of_taste = lines[index, 21:25]
            price = facts.prices[item]
            of_taste[0] = np.log(price) - mean_log_price if price > 0 else np.nan
            of_taste[1] = np.log1p(facts.demand_30[item]) - mean_log_demand
            category, brand = facts.categories[item], facts.brands[item]
            of_taste[2] = in_category[category] / total if category >= 0 and total > 0 else np.nan
            of_taste[3] = in_brand[brand] / total if brand >= 0 and total > 0 else np.nan
        _fill_query(lines[:, 25:], now, histories, begin, end, invoices)
        _add_affinities(in_category, in_brand, histories, begin, end, facts, 0.0)


@njit(cache=True, nogil=True)
def _fill_personal(
    lines: NDArray[np.float32],
    mine: Numbers,
    now: float,
    histories: HistoryRows,
    begin: int,
    end: int,
    facts: ItemArrays,
) -> int:
    """The user's interactions with each candidate; returns the number of invoices.

    Purchases at one moment are one invoice, and an item counts once in it.
    """
    n = len(mine)
    counts, others = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last, touched = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    first_invoice, last_invoice = np.zeros(n, np.int64), np.zeros(n, np.int64)
    weight = np.zeros(n, np.float64)
    invoices, invoice_time = 0, np.nan
    for event in range(begin, end):
        time = histories.times[event]
        if histories.bought[event] and time != invoice_time:
            invoices += 1
            invoice_time = time
        index = np.searchsorted(mine, histories.items[event])
        if index == n or mine[index] != histories.items[event]:
            continue
        touched[index] = time
        weight[index] += histories.weights[event]
        if not histories.bought[event]:
            others[index] += 1
        elif counts[index] == 0 or last_invoice[index] != invoices:
            if counts[index] == 0:
                first[index], first_invoice[index] = time, invoices
            counts[index] += 1
            last[index], last_invoice[index] = time, invoices
    for index in range(n):
        count = counts[index]
        age = (now - last[index]) / DAY
        interval = (last[index] - first[index]) / DAY / (count - 1) if count > 1 else np.nan
        line = lines[index]
        line[0] = count
        line[1] = weight[index]
        line[2] = count / invoices if invoices > 0 else 0.0
        line[3] = count / (invoices - first_invoice[index] + 1) if count > 0 else 0.0
        line[4] = invoices - last_invoice[index] if count > 0 else np.nan
        line[5] = age
        line[6] = (now - first[index]) / DAY
        line[7] = interval
        line[8] = age / interval
        line[9] = age / facts.intervals[mine[index]]
        line[10] = others[index]
        line[11] = (now - touched[index]) / DAY
    return invoices


@njit(cache=True, nogil=True)
def _fill_item(line: NDArray[np.float32], item: int, now: float, facts: ItemArrays) -> None:
    week, month, ever = facts.demand_7[item], facts.demand_30[item], facts.demand[item]
    age = (now - facts.first_seen[item]) / DAY
    line[0] = np.log1p(week)
    line[1] = np.log1p(month)
    line[2] = np.log1p(ever)
    line[3] = np.log((week + 1.0) / (month * 7.0 / 30.0 + 1.0))
    line[4] = np.log((month + 1.0) / (ever * 30.0 / max(age, 30.0) + 1.0))
    line[5] = age
    line[6] = facts.rebuy_rates[item]
    line[7] = facts.intervals[item]
    line[8] = facts.prices[item]


@njit(cache=True, nogil=True)
def _add_affinities(
    in_category: NDArray[np.float64],
    in_brand: NDArray[np.float64],
    histories: HistoryRows,
    begin: int,
    end: int,
    facts: ItemArrays,
    factor: float,
) -> float:
    """Adds the history's weights to its categories and brands, or with factor 0 clears them;
    returns the sum of the weights."""
    total = 0.0
    for event in range(begin, end):
        item = histories.items[event]
        weight = max(histories.weights[event], np.float32(0.0))
        total += weight
        category, brand = facts.categories[item], facts.brands[item]
        if category >= 0:
            in_category[category] = factor * (in_category[category] + weight)
        if brand >= 0:
            in_brand[brand] = factor * (in_brand[brand] + weight)
    return total


@njit(cache=True, nogil=True)
def _mean_logs(
    histories: HistoryRows, begin: int, end: int, facts: ItemArrays
) -> tuple[float, float]:
    """The means over the history of the log price and of the log demand; NaN without any."""
    prices, priced, demand = 0.0, 0, 0.0
    for event in range(begin, end):
        item = histories.items[event]
        if facts.prices[item] > 0:
            prices += np.log(facts.prices[item])
            priced += 1
        demand += np.log1p(facts.demand_30[item])
    size = end - begin
    return (prices / priced if priced > 0 else np.nan, demand / size if size > 0 else np.nan)


@njit(cache=True, nogil=True)
def _fill_query(
    lines: NDArray[np.float32],
    now: float,
    histories: HistoryRows,
    begin: int,
    end: int,
    invoices: int,
) -> None:
    """The features that all candidates of a query share."""
    items, bought = histories.items[begin:end], histories.bought[begin:end]
    times = histories.times[begin:end][bought]
    n_lines = len(times)
    span = (times[-1] - times[0]) / DAY if n_lines > 0 else np.nan
    lines[:, 0] = end - begin
    lines[:, 1] = len(np.unique(items))
    lines[:, 2] = invoices
    lines[:, 3] = (now - times[-1]) / DAY if n_lines > 0 else np.nan
    lines[:, 4] = span / (invoices - 1) if invoices > 1 else np.nan
    lines[:, 5] = n_lines / invoices if n_lines > 0 else np.nan
    lines[:, 6] = 1.0 - len(np.unique(items[bought])) / n_lines if n_lines > 0 else np.nan
