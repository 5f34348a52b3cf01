"""What goes into one basket together: the items that a whole cart calls for.

Ordered by conditional probability P(j | i); lift above a floor and a minimum number of distinct
customers keep chance out. Raw lift as an order is far worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.errors import BundleError
from recsys.models.association_rules import Rules, association_rules
from recsys.models.neighbours import column, work
from recsys.models.saved_arrays import array_of, sparse_arrays, square_of
from recsys.models.sparse_scores import SparseScorer, largest_first, shares, stacked, without
from recsys.query import Array, Contributions, Query, Scorer
from recsys.top_n import top_n_of
from recsys.training_data import Baskets, TrainingData

CERTAIN: Final = np.float32(1.0 - 1e-6)
"""The highest P(j | i) that a cart's score takes at its word, since log(1 − 1) is infinite."""


class BoughtTogetherConfig(BaseModel):
    """`lift_above` 1 keeps the pairs that are bought together more often than by chance.

    Baskets of more than `max_basket_items` (wholesale orders) are left out: they say little about
    what goes together and cost the square of their size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int | None = Field(default=100, ge=1)
    min_customers: int = Field(default=3, ge=1)
    lift_above: float = Field(default=1.0, ge=0)
    max_basket_items: int | None = Field(default=400, ge=2)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule i ⇒ j rests on; see `Rules`."""

    support: float
    confidence: float
    lift: float
    customers: int


@dataclass(frozen=True, slots=True)
class BoughtTogetherModel:
    """score(j) = 1 − Π (1 − P(j | i)) over the seeds i: each seed may call for j by itself.

    No opinion without seeds (the history does not count), on items that no rule reaches, and on
    the seeds themselves. `confidence` is items × items, csr; `support`, `lift` and `customers`
    run parallel to its entries.
    """

    holds_personal_rows: ClassVar[bool] = False

    confidence: csr_array
    support: NDArray[np.float32]
    lift: NDArray[np.float32]
    customers: NDArray[np.int32]
    absence: csr_array  # −log(1 − P), which adds up where the probabilities of absence multiply

    @classmethod
    def of(
        cls,
        confidence: csr_array,
        *,
        support: NDArray[np.float32],
        lift: NDArray[np.float32],
        customers: NDArray[np.int32],
    ) -> BoughtTogetherModel:
        """The model of these rules."""
        absence = -np.log1p(-np.minimum(confidence.data, CERTAIN))
        logs = csr_array(
            (absence, confidence.indices, confidence.indptr), shape=confidence.shape, copy=False
        )
        return cls(confidence, support, lift, customers, logs)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Gathers the rules of the seeds."""
        n_items = self.confidence.shape[0]
        seeds = [np.unique(query.seeds) for query in queries]
        left = stacked(
            [(items, np.ones(len(items), np.float32)) for items in seeds], n_columns=n_items
        )

        def rows_of(first: int, last: int) -> csr_array:
            chosen = left if last - first == len(queries) else left[first:last]
            matrix = without(csr_array(chosen @ self.absence), seeds[first:last])
            matrix.data = -np.expm1(-matrix.data)
            return matrix

        def contributions(row: int, item: int) -> Contributions:
            parts = column(self.absence, seeds[row], item)
            return largest_first(shares(seeds[row], parts, kind="seed"))

        return SparseScorer(
            n_items=n_items,
            sizes=work(left, self.absence),
            rows_of=rows_of,
            contributions=contributions,
        )

    def evidence(self, seed: int, item: int) -> Evidence | None:
        """What the rule seed ⇒ item rests on, or None where there is none."""
        first, last = self.confidence.indptr[seed], self.confidence.indptr[seed + 1]
        found = np.flatnonzero(self.confidence.indices[first:last] == item)
        if not len(found):
            return None
        place = int(first + found[0])
        return Evidence(
            support=float(self.support[place]),
            confidence=float(self.confidence.data[place]),
            lift=float(self.lift[place]),
            customers=int(self.customers[place]),
        )

    def arrays(self) -> Mapping[str, Array]:
        """The rules."""
        return {
            **sparse_arrays("confidence", self.confidence),
            "support": self.support,
            "lift": self.lift,
            "customers": self.customers,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> BoughtTogetherModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        confidence = square_of(arrays, "confidence")
        support = array_of(arrays, "support", dimensions=1)
        lift = array_of(arrays, "lift", dimensions=1)
        customers = array_of(arrays, "customers", dimensions=1, kind="i")
        if not len(confidence.data) == len(support) == len(lift) == len(customers):
            raise BundleError(
                f"There are {len(confidence.data)} rules with {len(support)} supports, {len(lift)} "
                f"lifts and {len(customers)} customer counts; rebuild the bundle."
            )
        return cls.of(confidence, support=support, lift=lift, customers=customers)


def fit_bought_together(
    data: TrainingData, config: BoughtTogetherConfig, *, rng: np.random.Generator
) -> BoughtTogetherModel:
    """The rules above the floors, each item's most probable consequents."""
    del rng
    rules = association_rules(
        _without_large(data.baskets, config.max_basket_items),
        min_customers=config.min_customers,
        lift_above=config.lift_above,
    )
    if config.neighbours is not None:
        rules = _most_probable(rules, len(data.items), config.neighbours)
    starts = np.searchsorted(rules.antecedents, np.arange(len(data.items) + 1)).astype(np.int32)
    confidence = csr_array(
        (rules.confidence.astype(np.float32), rules.consequents, starts),
        shape=(len(data.items), len(data.items)),
    )
    return BoughtTogetherModel.of(
        confidence,
        support=rules.support.astype(np.float32),
        lift=rules.lift.astype(np.float32),
        customers=rules.customers.astype(np.int32),
    )


def _without_large(baskets: Baskets, max_items: int | None) -> Baskets:
    if max_items is None:
        return baskets
    kept = np.flatnonzero(np.diff(baskets.matrix.indptr) <= max_items)
    return Baskets(csr_array(baskets.matrix[kept]), baskets.users[kept], baskets.times[kept])


def _most_probable(rules: Rules, n_items: int, n: int) -> Rules:
    starts = np.searchsorted(rules.antecedents, np.arange(n_items + 1)).tolist()
    kept = np.ones(len(rules), np.bool_)
    for first, last in pairwise(starts):
        if last - first > n:
            best = top_n_of(rules.consequents[first:last], rules.confidence[first:last], n)
            kept[first:last] = np.isin(rules.consequents[first:last], best.numbers)
    return rules.where(kept)
