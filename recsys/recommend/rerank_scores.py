"""Scores of a list that is reranked: scales, weighted sums, and how far an item may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.errors import InvalidQuery
from recsys.ids import Mask, Scores
from recsys.query.query import Listed, Query
from recsys.recommend.candidates import condition

ENGINE: Final = "engine"
"""The search engine or listing page as a source of scores."""
SHARE_OF_SCORE: Final = np.float32(0.5)
"""Share of the engine's own scores in its part, where it sent them; the rest is the rank."""


def scores_by_source(
    bundle: Bundle, queries: Sequence[Query], models: Sequence[str]
) -> list[dict[str, Scores]]:
    """Per query the scores of its `listed` items by the engine and by each model, 0 to 1.

    Source → a score per item; 0 where a model has no opinion or the bundle does not know the item.
    The weights of reranking are fitted on the same scores. InvalidQuery where a query has no list.
    """
    lists = [listed_of(query) for query in queries]
    known = [np.flatnonzero(listed.items >= 0) for listed in lists]
    items = [listed.items[rows] for listed, rows in zip(lists, known, strict=True)]
    by_model = {
        name: scorer.score(items) for name, scorer in condition(bundle, queries, models).items()
    }
    results = []
    for row, (listed, rows) in enumerate(zip(lists, known, strict=True)):
        scores = {ENGINE: engine_scores(listed.scores)}
        for name, by_row in by_model.items():
            scores[name] = np.zeros(len(listed.items), np.float32)
            scores[name][rows] = scaled(by_row[row])
        results.append(scores)
    return results


def listed_of(query: Query) -> Listed:
    """The list to rerank; InvalidQuery where the query has none."""
    if query.listed is None:
        raise InvalidQuery("rerank needs the list to order; send its items.")
    return query.listed


def engine_ranks(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The engine's order, 0 first: by score where every item has one, else as listed."""
    if not len(scores) or not np.isfinite(scores).all():
        return np.arange(len(scores))
    ranks = np.empty(len(scores), np.intp)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks


def engine_scores(scores: NDArray[np.float32]) -> Scores:
    """The engine's scores on the scale of a model's, at most 1: 1 / log₂(rank + 2), averaged with
    its min-max scaled scores where it sent one for every item."""
    by_rank = np.asarray(1.0 / np.log2(engine_ranks(scores) + 2.0), np.float32)
    if not len(scores) or not np.isfinite(scores).all() or scores.max() <= scores.min():
        return by_rank
    within = (scores - scores.min()) / (scores.max() - scores.min())
    return np.asarray(SHARE_OF_SCORE * within + (1 - SHARE_OF_SCORE) * by_rank, np.float32)


def scaled(scores: Scores) -> Scores:
    """√(score / best score of the list), so that the best is 1; 0 for NaN, or if the best is ≤ 0.

    The root, because counts and rates are skewed: without it the second best would often get a
    tenth of the best.
    """
    # fmax takes 0 over NaN.
    filled = np.fmax(scores, np.float32(0.0))
    best = filled.max(initial=0.0)
    if best <= 0:
        return np.zeros_like(filled)
    return np.asarray(np.sqrt(filled / best), np.float32)


def weighted(parts: Mapping[str, Scores], weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Sources × items: the scores of each source times its weight."""
    return np.stack([np.float32(weights[name]) * part for name, part in parts.items()])


def order_within(
    totals: Scores, ranks: NDArray[np.intp], *, max_shift: int | None, last: Mask
) -> NDArray[np.intp]:
    """The positions of the list in their new order, the best total first; ties by engine rank.

    No item moves more than `max_shift` ranks from the engine's (`ranks`), counted without those
    that are `last`: these go to the end in the engine's order, however far that is.
    """
    by_rank = np.argsort(ranks, kind="stable")
    free = by_rank[~last[by_rank]]
    end = by_rank[last[by_rank]]
    if max_shift is None or max_shift >= len(free):
        moved = free[np.argsort(-totals[free], kind="stable")]
    else:
        moved = free[_shifted(totals[free], max_shift)]
    return np.concatenate([moved, end])


def _shifted(totals: Scores, max_shift: int) -> NDArray[np.intp]:
    """The new order of items by their old ranks: at each rank the best item that may move there,
    unless an item may move no further down."""
    left = set(range(len(totals)))
    order: list[int] = []
    for rank in range(len(totals)):
        last_chance = rank - max_shift
        if last_chance in left:
            chosen = last_chance
        else:
            chosen = max(
                (item for item in left if item <= rank + max_shift),
                key=lambda item: (totals[item], -item),
            )
        left.remove(chosen)
        order.append(chosen)
    return np.array(order, np.intp)
