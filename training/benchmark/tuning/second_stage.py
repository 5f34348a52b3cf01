"""The product's ranker over a task's blend: fitted on validation queries, kept only if it wins.

Cross-fitting decides: each half of the queries is ordered by a ranker that was fitted on the other
half. The ranker that then orders the test lists is fitted on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recsys.evaluation.metrics import PerQuery
from recsys.ids import NONE, Numbers
from recsys.models.scoring.top_n import top_n_of
from recsys.query.query import Query
from recsys.ranking.features import item_facts
from recsys.ranking.ranker import Ranker
from recsys.recommend.candidates import BlendedCandidates, best_of
from training.benchmark.metrics import TaskMetrics
from training.benchmark.task_data import BenchmarkTask
from training.benchmark.tuning.blend import FittedModel, batches, gathered
from training.config import RankerConfig
from training.fitting.fit_ranker import fit_ranker
from training.fitting.ranker_labels import label_candidates

CONFIG: Final = RankerConfig(
    candidates=100, trees=80, leaves=15, least_rows=100, negatives=1.0, bulk_discount=0.0
)
"""Smaller than the shop's: a few thousand queries with one truth each teach fewer splits."""
STANDARD_ERRORS: Final = 2.0
"""The mean gain must be above zero by so many standard errors."""


@dataclass(frozen=True, slots=True)
class SecondStage:
    """What cross-fitting measured: the mean gain of the objective over the blend and its standard
    error. `ranker` is None where the plain blend stays."""

    ranker: Ranker | None
    gain: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class _BlendedTask:
    """A task with the best candidates of its blend, one entry per query."""

    task: BenchmarkTask
    models: tuple[str, ...]
    queries: Sequence[Query]
    candidates: Sequence[BlendedCandidates]

    @classmethod
    def of(
        cls, models: Mapping[str, FittedModel], weights: Mapping[str, float], task: BenchmarkTask
    ) -> _BlendedTask:
        vector = np.array(list(weights.values()), np.float32)
        used = {name: models[name] for name in weights}
        by_row: dict[int, BlendedCandidates] = {}
        for rows, part in batches(task):
            for row, union in zip(rows, gathered(used, part), strict=True):
                blended = BlendedCandidates(union, vector @ union.parts)
                by_row[row] = best_of(blended, CONFIG.candidates)
        queries = task.queries.queries(task.data.weighting)
        return cls(task, tuple(weights), queries, [by_row[row] for row in range(len(task))])

    def fit(self, rows: Sequence[int], *, seed: int) -> Ranker | None:
        """The ranker fitted on these queries; None where too few have a hit among candidates."""
        facts = item_facts(self.task.data)
        labelled = label_candidates(
            self.models,
            facts,
            [
                (
                    [self.queries[row] for row in rows],
                    [self.candidates[row] for row in rows],
                    [self.task.truth[row] for row in rows],
                )
            ],
            CONFIG,
            rng=np.random.default_rng(seed),
        )
        ranker = fit_ranker([labelled], CONFIG, seed=seed)
        return None if ranker is None else replace(ranker, facts=facts)

    def ordered(self, ranker: Ranker, rows: Sequence[int], n: int) -> list[Numbers]:
        """The top-n of these queries in the ranker's order."""
        models = [index for index, name in enumerate(self.models) if name in ranker.models]
        candidates = [self.candidates[row] for row in rows]
        orders = ranker.scores(
            [self.queries[row] for row in rows],
            [of_query.candidates.numbers for of_query in candidates],
            [of_query.candidates.parts[models] for of_query in candidates],
            [of_query.scores for of_query in candidates],
        )
        return [
            top_n_of(of_query.candidates.numbers, order, n).numbers
            for of_query, order in zip(candidates, orders, strict=True)
        ]


def second_stage(
    models: Mapping[str, FittedModel],
    weights: Mapping[str, float],
    task: BenchmarkTask,
    metrics: TaskMetrics,
    *,
    seed: int,
) -> SecondStage:
    """The ranker over the models of the blend, if it beats their weighted sum on these queries."""
    blended = _BlendedTask.of(models, weights, task)
    order = np.random.default_rng(seed).permutation(len(task)).tolist()
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    lists: list[Numbers] = [NONE] * len(task)
    for fitted_on, judged in (halves, halves[::-1]):
        ranker = blended.fit(fitted_on, seed=seed)
        if ranker is None:
            return SecondStage(None, 0.0, 0.0)
        for row, numbers in zip(judged, blended.ordered(ranker, judged, metrics.n), strict=True):
            lists[row] = numbers
    plain = [
        top_n_of(of_query.candidates.numbers, of_query.scores, metrics.n).numbers
        for of_query in blended.candidates
    ]
    gains: PerQuery = metrics.objectives(lists, task.truth) - metrics.objectives(plain, task.truth)
    gain = float(gains.mean())
    error = float(gains.std() / np.sqrt(len(gains)))
    wins = gain > STANDARD_ERRORS * error
    return SecondStage(blended.fit(order, seed=seed) if wins else None, gain, error)


def ranked_lists(
    ranker: Ranker,
    models: Mapping[str, FittedModel],
    weights: Mapping[str, float],
    task: BenchmarkTask,
    n: int,
) -> Iterator[tuple[int, Numbers]]:
    """Query number and top-n in the ranker's order, with the item facts of the task's data."""
    ranker = replace(ranker, facts=item_facts(task.data))
    for rows, part in batches(task):
        blended = _BlendedTask.of(models, weights, part)
        yield from zip(rows, blended.ordered(ranker, range(len(part)), n), strict=True)
