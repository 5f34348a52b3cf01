"""Ranking metrics per query and list metrics over a catalogue: arrays in, floats out.

`recommended` and `truth` hold item numbers, one array per query, the recommended best first and
possibly shorter than k. Accuracy metrics give one float64 per query, so that two lists can be
compared pairwise; NaN where the truth is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Numbers

PerQuery = NDArray[np.float64]
RankedLists = Sequence[Numbers]


def recall_at_k(recommended: RankedLists, truth: RankedLists, k: int) -> PerQuery:
    """Hits among the first k over the size of the truth."""
    return np.asarray(hits_at(recommended, truth, k).sum(axis=1) / _sizes(truth))


def precision_at_k(recommended: RankedLists, truth: RankedLists, k: int) -> PerQuery:
    """Hits among the first k over k, also where the list is shorter."""
    return np.asarray(hits_at(recommended, truth, k).sum(axis=1) / k + 0.0 * _sizes(truth))


def hit_rate_at_k(recommended: RankedLists, truth: RankedLists, k: int) -> PerQuery:
    """1 where any of the first k is a hit, else 0."""
    return hits_at(recommended, truth, k).any(axis=1) + 0.0 * _sizes(truth)


def ndcg_at_k(recommended: RankedLists, truth: RankedLists, k: int) -> PerQuery:
    """Σ hit_r / log₂(r + 1) over its ideal, where min(k, |truth|) hits lead the list."""
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])
    sizes = np.fromiter(map(len, truth), np.int64, len(truth))
    return np.asarray((hits_at(recommended, truth, k) @ discounts) / ideal[np.minimum(sizes, k)])


def reciprocal_rank_at_k(recommended: RankedLists, truth: RankedLists, k: int) -> PerQuery:
    """1 over the rank of the first hit among the first k, else 0; MRR is its mean."""
    hits = hits_at(recommended, truth, k)
    first = np.argmax(hits, axis=1)
    return np.where(hits.any(axis=1), 1.0 / (first + 1), 0.0) + 0.0 * _sizes(truth)


def gain_recall_at_k(
    recommended: RankedLists, truth: RankedLists, gains: Sequence[PerQuery], k: int
) -> PerQuery:
    """Gain of the hits among the first k over the gain of the truth.

    `gains` is parallel to `truth`, none below zero; NaN where a truth gains nothing.
    """
    wholes = np.array([gain.sum() for gain in gains])
    return _ratio(gains_at(recommended, truth, gains, k).sum(axis=1), wholes)


def gain_ndcg_at_k(
    recommended: RankedLists, truth: RankedLists, gains: Sequence[PerQuery], k: int
) -> PerQuery:
    """Σ gain_r / log₂(r + 1) over its ideal, where the k largest gains of the truth lead the list.

    With equal gains it is `ndcg_at_k`. NaN where a truth gains nothing.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    best = [np.sort(gain)[::-1][:k] for gain in gains]
    ideals = np.array([gain @ discounts[: len(gain)] for gain in best])
    return _ratio(gains_at(recommended, truth, gains, k) @ discounts, ideals)


def gains_at(
    recommended: RankedLists, truth: RankedLists, gains: Sequence[PerQuery], k: int
) -> NDArray[np.float64]:
    """Queries × k: the gain of the item at each rank, 0 where it is no hit or the list has ended.

    ValueError where gains and truth differ in length, and as for `hits_at`.
    """
    if [len(gain) for gain in gains] != [len(items) for items in truth]:
        raise ValueError("Gains and truth differ in length; give each item of the truth one gain.")
    hits = hits_at(recommended, truth, k)
    by_rank = np.zeros(hits.shape)
    for row in np.flatnonzero(hits.any(axis=1)).tolist():
        order = np.argsort(truth[row], kind="stable")
        ranks = np.flatnonzero(hits[row])
        places = np.searchsorted(truth[row], recommended[row][ranks], sorter=order)
        by_rank[row, ranks] = gains[row][order[places]]
    return by_rank


def hits_at(recommended: RankedLists, truth: RankedLists, k: int) -> NDArray[np.bool_]:
    """Queries × k: whether the item at each rank is in the truth; False beyond a list's end.

    ValueError for k < 1 and where there are not as many lists as truths.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1.")
    rows, ranks, items = _flat([numbers[:k] for numbers in recommended])
    true_rows, _, true_items = _flat(truth)
    if len(recommended) != len(truth):
        raise ValueError(f"There are {len(recommended)} lists for {len(truth)} truths.")
    # One number per (query, item), so that all queries are matched in one pass.
    width = int(max(items.max(initial=-1), true_items.max(initial=-1))) + 1
    is_hit = np.isin(rows * width + items, true_rows * width + true_items)
    hits = np.zeros((len(recommended), k), np.bool_)
    hits[rows, ranks] = is_hit
    return hits


def catalogue_coverage(recommended: RankedLists, k: int, *, n_items: int) -> float:
    """Share of the catalogue that stands in at least one list; NaN for an empty catalogue."""
    _, _, items = _flat([numbers[:k] for numbers in recommended])
    return len(np.unique(items)) / n_items if n_items else float("nan")


def novelty(recommended: RankedLists, k: int, *, counts: NDArray[np.floating]) -> PerQuery:
    """Mean of −log₂ of each item's share of all interactions, per list; NaN for an empty list.

    `counts` holds the interactions per item; an item without any is as novel as one with a single
    interaction.
    """
    total = max(float(counts.sum()), 1.0)
    bits = -np.log2(np.maximum(counts, 1.0) / total)
    rows, _, items = _flat([numbers[:k] for numbers in recommended])
    lengths = np.bincount(rows, minlength=len(recommended)).astype(np.float64)
    return _ratio(np.bincount(rows, weights=bits[items], minlength=len(recommended)), lengths)


def _flat(lists: RankedLists) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Query, rank (from 0) and item of every entry."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    rows = np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
    ranks = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    items = np.concatenate(lists) if len(lists) else np.empty(0)
    return rows, ranks, items.astype(np.int64)


def _sizes(truth: RankedLists) -> PerQuery:
    """Sizes of the truths, NaN instead of 0."""
    sizes = np.fromiter(map(len, truth), np.float64, len(truth))
    return np.where(sizes > 0, sizes, np.nan)


def _ratio(parts: NDArray[np.number], wholes: PerQuery) -> PerQuery:
    unknown = np.full(len(wholes), np.nan)
    return np.asarray(np.divide(parts, wholes, out=unknown, where=wholes > 0))
