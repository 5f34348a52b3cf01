"""What each task measures, and what its settings are chosen for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

Measure = Callable[[Sequence[Numbers], Sequence[Numbers], int], PerQuery]


@dataclass(frozen=True, slots=True)
class Rules:
    """The measures of a task by their names, the cut-offs, and the objective of choosing.

    The objective is the mean of Σ weight · measure@k over the questions.
    """

    measures: Mapping[str, Measure]
    cutoffs: tuple[int, ...]
    objective: Mapping[str, float]
    objective_k: int

    @property
    def length(self) -> int:
        """The length of the lists."""
        return max(self.cutoffs)

    def per_question(
        self, lists: Sequence[Numbers], truth: Sequence[Numbers]
    ) -> dict[str, PerQuery]:
        """Every measure at every cut-off, NaN for questions without an answer."""
        return {
            f"{name}_at_{k}": measure(lists, truth, k)
            for name, measure in self.measures.items()
            for k in self.cutoffs
        }

    def values(self, lists: Sequence[Numbers], truth: Sequence[Numbers]) -> PerQuery:
        """The objective of each question."""
        total: PerQuery = np.zeros(len(lists))
        for name, weight in self.objective.items():
            total += weight * self.measures[name](lists, truth, self.objective_k)
        return total

    def value(self, lists: Sequence[Numbers], truth: Sequence[Numbers]) -> float:
        """The objective."""
        return float(np.nanmean(self.values(lists, truth)))


def means(per_question: Mapping[str, PerQuery]) -> dict[str, float]:
    """The mean of each measure over the questions that it applies to; NaN where there is none."""
    return {
        name: float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
        for name, values in per_question.items()
    }


def ndcg_over_all_at_k(
    recommended: Sequence[Numbers], truth: Sequence[Numbers], k: int
) -> PerQuery:
    """NDCG whose ideal has a hit for every item of the truth, also beyond k."""
    discounts: NDArray[np.float64] = 1.0 / np.log2(np.arange(2, k + 2))
    sizes = np.fromiter(map(len, truth), np.int64, len(truth))
    longest = int(sizes.max(initial=1))
    ideal = np.concatenate([[np.nan], np.cumsum(1.0 / np.log2(np.arange(2, longest + 2)))])
    return np.asarray((hits_at(recommended, truth, k) @ discounts) / ideal[sizes])


TOP_N = Rules(
    {"recall": recall_at_k, "ndcg": ndcg_at_k, "hit_rate": hit_rate_at_k},
    (10, 20, 50),
    {"recall": 1.0, "ndcg": 1.0},
    20,
)
SESSION = Rules(
    {"mrr": reciprocal_rank_at_k, "hit_rate": hit_rate_at_k, "ndcg": ndcg_at_k},
    (5, 10, 20),
    {"mrr": 1.0, "hit_rate": 0.5},
    20,
)
NEXT_BASKET = Rules(
    {
        "recall": recall_at_k,
        "ndcg": ndcg_at_k,
        "ndcg_over_all": ndcg_over_all_at_k,
        "phr": hit_rate_at_k,
        "hit_rate": hit_rate_at_k,
    },
    (10, 20),
    {"recall": 1.0, "ndcg": 1.0},
    20,
)
LEAVE_ONE_OUT = Rules(
    {"hit_rate": hit_rate_at_k, "ndcg": ndcg_at_k, "mrr": reciprocal_rank_at_k},
    (5, 10, 20),
    {"hit_rate": 0.5, "ndcg": 1.0},
    10,
)
