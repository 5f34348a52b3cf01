"""The metrics of each benchmark task, and the objective by which its settings are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics import (
    PerQuery,
    hit_rate_at_k,
    hits_at,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)
from recsys.ids import Numbers

Metric = Callable[[Sequence[Numbers], Sequence[Numbers], int], PerQuery]


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """Metrics by name, their cut-offs, and the objective that the search maximises.

    The objective is the mean over the queries of Σ weight · metric@`objective_k`. `shown` are the
    columns of the printed table.
    """

    metrics: Mapping[str, Metric]
    cutoffs: tuple[int, ...]
    objective: Mapping[str, float]
    objective_k: int
    shown: tuple[str, ...]

    @property
    def n(self) -> int:
        """The length of the lists."""
        return max(self.cutoffs)

    def per_query(self, lists: Sequence[Numbers], truth: Sequence[Numbers]) -> dict[str, PerQuery]:
        """`metric_at_k` → one value per query, NaN where the truth is empty."""
        return {
            f"{name}_at_{k}": metric(lists, truth, k)
            for name, metric in self.metrics.items()
            for k in self.cutoffs
        }

    def objectives(self, lists: Sequence[Numbers], truth: Sequence[Numbers]) -> PerQuery:
        """The objective of each query, before the mean."""
        total: PerQuery = np.zeros(len(lists))
        for name, weight in self.objective.items():
            total += weight * self.metrics[name](lists, truth, self.objective_k)
        return total

    def value(self, lists: Sequence[Numbers], truth: Sequence[Numbers]) -> float:
        """The objective."""
        return float(np.nanmean(self.objectives(lists, truth)))


def means(per_query: Mapping[str, PerQuery]) -> dict[str, float]:
    """The mean of each metric over the queries that it applies to; NaN where there is none."""
    return {
        name: float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
        for name, values in per_query.items()
    }


def ndcg_over_all_at_k(
    recommended: Sequence[Numbers], truth: Sequence[Numbers], k: int
) -> PerQuery:
    """NDCG@k whose ideal list holds every item of the truth, also beyond k.

    The convention of the next-basket literature (Li et al., TOIS 2023), below that of `ndcg_at_k`
    where the truth is longer than k.
    """
    discounts: NDArray[np.float64] = 1.0 / np.log2(np.arange(2, k + 2))
    sizes = np.fromiter(map(len, truth), np.int64, len(truth))
    longest = int(sizes.max(initial=1))
    ideal = np.concatenate([[np.nan], np.cumsum(1.0 / np.log2(np.arange(2, longest + 2)))])
    return np.asarray((hits_at(recommended, truth, k) @ discounts) / ideal[sizes])


TOP_N: Final = TaskMetrics(
    metrics={"recall": recall_at_k, "ndcg": ndcg_at_k, "hit_rate": hit_rate_at_k},
    cutoffs=(10, 20, 50),
    objective={"recall": 1.0, "ndcg": 1.0},
    objective_k=20,
    shown=("recall_at_20", "ndcg_at_20"),
)
SESSION: Final = TaskMetrics(
    metrics={"mrr": reciprocal_rank_at_k, "hit_rate": hit_rate_at_k, "ndcg": ndcg_at_k},
    cutoffs=(5, 10, 20),
    objective={"mrr": 1.0, "hit_rate": 0.5},
    objective_k=20,
    shown=("mrr_at_20", "hit_rate_at_20", "ndcg_at_20"),
)
NEXT_BASKET: Final = TaskMetrics(
    metrics={
        "recall": recall_at_k,
        "ndcg": ndcg_at_k,
        "ndcg_over_all": ndcg_over_all_at_k,
        "phr": hit_rate_at_k,
        "hit_rate": hit_rate_at_k,
    },
    cutoffs=(10, 20),
    objective={"recall": 1.0, "ndcg": 1.0},
    objective_k=20,
    shown=(
        "recall_at_10",
        "ndcg_at_10",
        "phr_at_10",
        "recall_at_20",
        "ndcg_at_20",
        "ndcg_over_all_at_20",
        "phr_at_20",
    ),
)
LEAVE_ONE_OUT: Final = TaskMetrics(
    metrics={"hit_rate": hit_rate_at_k, "ndcg": ndcg_at_k, "mrr": reciprocal_rank_at_k},
    cutoffs=(5, 10, 20),
    objective={"hit_rate": 0.5, "ndcg": 1.0},
    objective_k=10,
    shown=tuple(f"{name}_at_{k}" for k in (5, 10, 20) for name in ("hit_rate", "ndcg")),
)
