"""Chooses how much each model of a placement weighs, on validation periods alone.

Coordinate ascent over the same candidates and scales that serving uses (`operations.gather`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle import Bundle
from recsys.evaluation import CHUNK, shelf_as_of, truth_numbers
from recsys.ids import NONE, Numbers
from recsys.operations import Candidates, condition, gather
from recsys.placements import Placement
from recsys.query import History
from recsys.splitting import HeldOut, check_no_leak
from recsys.training_data import TrainingData
from training.config import BlendSearch

WIDTH = 400
"""Candidates kept per customer in the search: those with the best rank in any model."""
STEPS = (0.5, 0.2)
LEAST_GAIN = 1e-4
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Period:
    """A bundle fitted before a cut, and what happened after it."""

    bundle: Bundle
    data: TrainingData
    held_out: HeldOut


def choose_blend(
    periods: Sequence[Period],
    placement: Placement,
    search: BlendSearch,
    *,
    n: int,
    rng: Generator,
    progress: Callable[[float], None] | None = None,
) -> Placement:
    """The placement with the blend that was best over the periods; it starts from its own blend.

    The objective is 1 for the starting blend: recall@n + NDCG@n over all items, and over the items
    that are new to the customer, each relative to the start. Weights sum to 1; a model below 1 %
    gets 0 and is not fitted again. A model that had no opinion in any period (nobody is in a visit
    at a cut) cannot be judged and keeps its share of the starting blend. Raises LeakFromFuture
    where a period's data overlap.
    """
    names = tuple(placement.blend)
    tables = [_table(period, placement, search, n=n, rng=rng) for period in periods]
    tables = [table for table in tables if len(table.sizes)]
    if not tables:
        return placement
    weights = np.array([placement.blend[name] for name in names], np.float64)
    weights /= max(weights.sum(), 1e-12)
    judged = np.any([table.parts.any(axis=(1, 2)) for table in tables], axis=0)
    kept = np.where(judged, 0.0, weights)
    start = [table.measure(weights) for table in tables]

    def objective(candidate: NDArray[np.float64]) -> float:
        gains = []
        for table, base in zip(tables, start, strict=True):
            found = table.measure(candidate)
            whole, unseen = (_relative(value, was) for value, was in zip(found, base, strict=True))
            share = search.new_items_share if base[1] > 0 else 0.0
            gains.append((1.0 - share) * whole + share * unseen)
        return float(np.mean(gains))

    best = objective(weights)
    for step in STEPS:
        for _ in range(search.sweeps):
            before = best
            for index in np.flatnonzero(judged).tolist():
                for direction in (step, -step):
                    tried = weights.copy()
                    tried[index] = max(0.0, tried[index] + direction * max(0.1, tried[index]))
                    if tried[index] == weights[index] or not tried.any():
                        continue
                    value = objective(tried)
                    if value > best + LEAST_GAIN:
                        weights, best = tried, value
                        break
            if progress is not None:
                progress(best)
            if best <= before:
                break
    weights = np.where(judged, weights, 0.0)
    weights /= max(weights.sum(), 1e-12)
    weights[weights < LEAST_SHARE] = 0.0
    weights = kept + (1.0 - kept.sum()) * weights / max(weights.sum(), 1e-12)
    return placement.with_blend(
        {name: round(weight, 4) for name, weight in zip(names, weights.tolist(), strict=True)}
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """One period's candidates, padded: parts is models × customers × WIDTH."""

    parts: NDArray[np.float32]
    hits: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    sizes_unseen: NDArray[np.int64]
    n: int

    def measure(self, weights: NDArray[np.float64]) -> tuple[float, float]:
        """recall@n + NDCG@n of all items and of items new to the customer."""
        scores = np.tensordot(weights.astype(np.float32), self.parts, axes=1)
        return (
            self._mean(np.where(self.hidden, -np.inf, scores), self.hits, self.sizes),
            self._mean(
                np.where(self.seen, -np.inf, scores), self.hits & ~self.seen, self.sizes_unseen
            ),
        )

    def _mean(
        self, scores: NDArray[np.float32], hits: NDArray[np.bool_], sizes: NDArray[np.int64]
    ) -> float:
        n = min(self.n, scores.shape[1])
        counted = sizes > 0
        if not counted.any():
            return 0.0
        scores, hits, sizes = scores[counted], hits[counted], sizes[counted]
        top = np.argpartition(-scores, n - 1, axis=1)[:, :n]
        ordered = np.take_along_axis(
            top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable"), 1
        )
        found = np.take_along_axis(hits, ordered, 1) & np.isfinite(
            np.take_along_axis(scores, ordered, 1)
        )
        discounts = 1.0 / np.log2(np.arange(n) + 2.0)
        recall = found.sum(axis=1) / sizes
        ideal = np.cumsum(discounts)[np.minimum(sizes, n) - 1]
        ndcg = (found * discounts).sum(axis=1) / ideal
        return float((recall + ndcg).mean())


def _table(
    period: Period, placement: Placement, search: BlendSearch, *, n: int, rng: Generator
) -> _Table:
    check_no_leak(period.data, period.held_out)
    persons = list(period.held_out.persons)
    known = [
        index
        for index, person in enumerate(persons)
        if period.data.users.number(person) is not None
    ]
    if len(known) > search.sample:
        known = sorted(rng.choice(known, size=search.sample, replace=False).tolist())
    queries = period.data.queries([persons[index] for index in known], now=period.held_out.cut)
    truth = truth_numbers([period.held_out.truth[index] for index in known], period.bundle.items)
    eligible = shelf_as_of(period.bundle).eligible(period.held_out.cut)
    names = tuple(placement.blend)
    width = WIDTH
    parts = np.zeros((len(names), len(known), width), np.float32)
    hits, hidden, seen = (np.zeros((len(known), width), np.bool_) for _ in range(3))
    hidden[:], seen[:] = True, True
    for start in range(0, len(known), CHUNK):
        some = queries[start : start + CHUNK]
        scorers = condition(period.bundle, some, names)
        gathered = gather(scorers, placement.candidates, eligible, [NONE] * len(some))
        for offset, (query, candidates) in enumerate(zip(some, gathered, strict=True)):
            row = start + offset
            numbers, found = _narrowed(candidates, width)
            size = len(numbers)
            parts[:, row, :size] = found
            hits[row, :size] = np.isin(numbers, truth[row])
            seen[row, :size] = np.isin(numbers, query.history.items)
            hidden[row, :size] = _hidden(numbers, query.history, placement)
    sizes = np.array([len(items) for items in truth], np.int64)
    unseen = [
        len(np.setdiff1d(items, query.history.items))
        for items, query in zip(truth, queries, strict=True)
    ]
    return _Table(parts, hits, hidden, seen, sizes, np.array(unseen, np.int64), n)


def _narrowed(candidates: Candidates, width: int) -> tuple[Numbers, NDArray[np.float32]]:
    if len(candidates.numbers) <= width:
        return candidates.numbers, candidates.parts
    ranks = np.argsort(np.argsort(-candidates.parts, axis=1, kind="stable"), axis=1, kind="stable")
    ranks = np.where(candidates.parts > 0, ranks, ranks.shape[1])
    kept = np.sort(np.argsort(ranks.min(axis=0), kind="stable")[:width])
    return candidates.numbers[kept], candidates.parts[:, kept]


def _hidden(numbers: Numbers, history: History, placement: Placement) -> NDArray[np.bool_]:
    if placement.repeats == "allow":
        return np.zeros(len(numbers), np.bool_)
    if placement.repeats == "exclude_purchased":
        return np.isin(numbers, history.purchases().items)
    return np.isin(numbers, history.items)


def _relative(value: float, start: float) -> float:
    return value / start if start > 0 else 1.0 + value
