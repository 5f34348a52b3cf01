"""Weights of a blend of fitted models, chosen on validation queries.

Candidates, scales and the coordinate ascent are those of the nightly run (`candidates.gather`,
`blend_weights.coordinate_ascent`); only the objective is the task's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.evaluation.metrics import PerQuery
from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Model
from recsys.models.scoring.top_n import top_n_of
from recsys.recommend.candidates import Candidates, gather
from training.benchmark.metrics import TaskMetrics
from training.benchmark.task_data import BenchmarkTask
from training.fitting.blend_weights import coordinate_ascent, shares, totals

CANDIDATES: Final = 150
"""How many items each model retrieves per query."""
BATCH: Final = 256
SWEEPS: Final = 6
STEPS: Final = (1.0, 0.5, 0.2)
"""Larger at first than the nightly run's, which starts from a blend and not from a single model."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model with the data that it was fitted on, by whose weighting it is queried."""

    model: Model
    data: TrainingData


def batches(task: BenchmarkTask) -> Iterator[tuple[list[int], BenchmarkTask]]:
    """Row numbers and their part of the task, by number of excluded items, so that the over-fetch
    for them stays small."""
    order = np.argsort([len(excluded) for excluded in task.excluded], kind="stable")
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        yield rows.tolist(), task.subset(rows)


def lists_of(fitted: FittedModel, task: BenchmarkTask, n: int) -> list[Numbers]:
    """One model's top-n per query, best first, without the excluded items."""
    lists = [NONE] * len(task)
    for rows, part in batches(task):
        n_fetch = n + max(map(len, part.excluded))
        scorer = fitted.model.condition(part.queries.queries(fitted.data.weighting))
        retrieved = scorer.retrieve(n_fetch, all_items(part))
        for row, excluded, best in zip(rows, part.excluded, retrieved, strict=True):
            lists[row] = top_n_of(best.numbers, best.scores, n, exclude=excluded).numbers
    return lists


def blended_lists(
    models: Mapping[str, FittedModel], weights: Mapping[str, float], task: BenchmarkTask, n: int
) -> Iterator[tuple[int, Numbers]]:
    """Query number and top-n of the weighted sum, batch by batch."""
    used = {name: models[name] for name, weight in weights.items() if weight > 0}
    vector = np.array([weights[name] for name in used], np.float32)
    for rows, part in batches(task):
        for row, candidates in zip(rows, gathered(used, part), strict=True):
            yield row, top_n_of(candidates.numbers, vector @ candidates.parts, n).numbers


def gathered(models: Mapping[str, FittedModel], part: BenchmarkTask) -> list[Candidates]:
    """Per query the union of what the models retrieve, scored by all of them."""
    # The queries of two models differ only in how the histories are weighted.
    scorers = {
        name: fitted.model.condition(part.queries.queries(fitted.data.weighting))
        for name, fitted in models.items()
    }
    return gather(scorers, CANDIDATES, all_items(part), part.excluded)


def all_items(task: BenchmarkTask) -> Mask:
    """Every item of the set may be recommended."""
    return np.ones(len(task.data.items), np.bool_)


def choose_weights(
    models: Mapping[str, FittedModel], best: str, task: BenchmarkTask, metrics: TaskMetrics
) -> dict[str, float]:
    """Weights that sum to 1: the better of two ascents, from the best single model and from equal
    weights.

    The blend must beat that model by more than the standard error of their paired difference on
    these queries, or the model stays alone: weights that fit few queries are noise.
    """
    names = list(models)
    table = BlendTable.of(models, task, metrics)
    single = np.array([float(name == best) for name in names])
    relative = _Relative(table, table.mean(single))
    adjustable = np.ones(len(names), np.bool_)
    ascents = [
        coordinate_ascent(relative, [table.parts], start, adjustable, sweeps=SWEEPS, steps=STEPS)
        for start in (single, np.full(len(names), 1 / len(names)))
    ]
    weights, _ = max(ascents, key=lambda ascent: ascent[1])
    gains = table.objectives(weights) - table.objectives(single)
    gains = gains[~np.isnan(gains)]
    if gains.mean() <= gains.std() / np.sqrt(max(len(gains), 1)):
        weights = single
    return {
        name: round(share, 4)
        for name, share in zip(names, shares(weights).tolist(), strict=True)
        if share > 0
    }


@dataclass(frozen=True, slots=True)
class BlendTable:
    """The candidates of all queries, one query after the other, so that many blends can be scored.

    `parts` is models × candidates; `starts` bounds the candidates of each query.
    """

    parts: Sequence[NDArray[np.float32]]
    items: Numbers
    starts: NDArray[np.int64]
    truth: Sequence[Numbers]
    metrics: TaskMetrics

    @classmethod
    def of(
        cls, models: Mapping[str, FittedModel], task: BenchmarkTask, metrics: TaskMetrics
    ) -> BlendTable:
        """The table over what the models retrieve."""
        candidates: list[Candidates] = []
        truth: list[Numbers] = []
        for _, part in batches(task):
            candidates += gathered(models, part)
            truth += part.truth
        sizes = [len(of_query.numbers) for of_query in candidates]
        return cls(
            list(np.concatenate([of_query.parts for of_query in candidates], axis=1)),
            np.concatenate([of_query.numbers for of_query in candidates]),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            truth,
            metrics,
        )

    def objectives(self, weights: NDArray[np.float64]) -> PerQuery:
        """The objective of each query under these weights."""
        return self.objectives_of(totals([self.parts], weights)[0])

    def mean(self, weights: NDArray[np.float64]) -> float:
        """The objective under these weights."""
        return float(np.nanmean(self.objectives(weights)))

    def objectives_of(self, scores: NDArray[np.float32]) -> PerQuery:
        """The objective of each query where candidates have these scores."""
        positions, counts = best_positions(scores, self.starts, self.metrics.objective_k)
        best = self.items[positions]
        lists = [row[:count] for row, count in zip(best, counts.tolist(), strict=True)]
        return self.metrics.objectives(lists, self.truth)


@dataclass(frozen=True, slots=True)
class _Relative:
    """The objective of scores over that of the best single model."""

    table: BlendTable
    single: float

    def value(self, scores: Sequence[NDArray[np.float32]]) -> float:
        """1 for the single model."""
        return float(np.nanmean(self.table.objectives_of(scores[0]))) / max(self.single, 1e-12)


@njit(cache=True, nogil=True)
def best_positions(
    scores: NDArray[np.float32], starts: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per span of `starts` the positions of its k highest scores, best first, and how many.

    Ties go to the earlier position; positions beyond the count are 0.
    """
    n_rows = len(starts) - 1
    positions = np.zeros((n_rows, k), np.int64)
    counts = np.zeros(n_rows, np.int64)
    best = np.empty(k, np.float32)
    for row in range(n_rows):
        count = 0
        for position in range(starts[row], starts[row + 1]):
            score = scores[position]
            if count == k and score <= best[k - 1]:
                continue
            if count < k:
                count += 1
            at = count - 1
            while at > 0 and best[at - 1] < score:
                best[at] = best[at - 1]
                positions[row, at] = positions[row, at - 1]
                at -= 1
            best[at] = score
            positions[row, at] = position
        counts[row] = count
    return positions, counts
