"""Measures per slice of a held-out period: which persons and which items of their truth count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.evaluation.intervals import Values
from recsys.evaluation.metrics import (
    gain_ndcg_at_k,
    gain_recall_at_k,
    hit_rate_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)
from recsys.evaluation.objectives import bought_a_few_times
from recsys.ids import Numbers
from recsys.query.query import Query

MEASURES = {
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "hit_rate": hit_rate_at_k,
    "precision": precision_at_k,
    "mrr": reciprocal_rank_at_k,
}
GAIN_MEASURES = {"recall": gain_recall_at_k, "ndcg": gain_ndcg_at_k}


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a held-out period: masks over persons, and each person's truth."""

    truth: list[Numbers]
    revenues: list[Values]
    """The revenue of each item of the truth."""
    new_items: list[Numbers]
    rebuys: list[Numbers]
    cold_items: list[Numbers]
    with_history: NDArray[np.bool_]
    heavy: NDArray[np.bool_]
    returning: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        data: TrainingData,
        queries: Sequence[Query],
        truth: Sequence[Numbers],
        revenues: Sequence[Values],
        history: Sequence[Numbers],
    ) -> Slices:
        """The slices of the persons: heavy customers have more than the median number of events,
        returning ones have bought a few times (`objectives.bought_a_few_times`)."""
        warm = np.zeros(len(data.items), np.bool_)
        warm[data.timeline.items] = True
        warm[data.baskets.matrix.indices] = True
        sizes = np.array([len(query.history) for query in queries])
        with_history = sizes > 0
        median = np.median(sizes[with_history]) if with_history.any() else 0.0
        return cls(
            truth=list(truth),
            revenues=list(revenues),
            new_items=[np.setdiff1d(t, h) for t, h in zip(truth, history, strict=True)],
            rebuys=[np.intersect1d(t, h) for t, h in zip(truth, history, strict=True)],
            cold_items=[t[(t < len(warm)) & ~warm[np.minimum(t, len(warm) - 1)]] for t in truth],
            with_history=with_history,
            heavy=sizes > median,
            returning=np.array([bought_a_few_times(query) for query in queries], np.bool_),
        )

    def measure(
        self, lists: Sequence[Numbers], lists_unseen: Sequence[Numbers], cutoffs: Sequence[int]
    ) -> dict[str, Values]:
        """Every measure at every cutoff for every slice, per person."""
        whole = dict(_measured(lists, self.truth, cutoffs))
        table: dict[str, Values] = {}
        for name, values in whole.items():
            table[name] = np.where(self.with_history, values, np.nan)
        longest = [max(cutoffs)]
        for name, values in _measured(lists_unseen, self.new_items, longest):
            table[f"new_items/{name}"] = np.where(self.with_history, values, np.nan)
        for name, values in _measured(lists, self.rebuys, longest):
            table[f"rebuys/{name}"] = np.where(self.with_history, values, np.nan)
        for name, values in _measured(lists, self.cold_items, longest):
            table[f"cold_items/{name}"] = values
        for name, gain_measure in GAIN_MEASURES.items():
            values = gain_measure(lists, self.truth, self.revenues, longest[0])
            table[f"revenue_{name}_at_{longest[0]}"] = np.where(self.with_history, values, np.nan)
        for name in (f"{measure}_at_{longest[0]}" for measure in MEASURES):
            values = whole[name]
            table[f"returning_customers/{name}"] = np.where(self.returning, values, np.nan)
            table[f"heavy_customers/{name}"] = np.where(
                self.with_history & self.heavy, values, np.nan
            )
            table[f"light_customers/{name}"] = np.where(
                self.with_history & ~self.heavy, values, np.nan
            )
            table[f"new_customers/{name}"] = np.where(self.with_history, np.nan, values)
        return table


def _measured(
    lists: Sequence[Numbers], truth: Sequence[Numbers], cutoffs: Sequence[int]
) -> Iterator[tuple[str, Values]]:
    for name, measure in MEASURES.items():
        for k in cutoffs:
            yield f"{name}_at_{k}", measure(lists, truth, k)
