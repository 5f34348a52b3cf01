"""Items bought together with those of a page or a whole cart: scored association rules.

A rule's strength is its conditional probability times a power of log(1 + lift). A minimum lift and
a minimum number of distinct customers exclude chance pairs. Ranking by lift alone was far worse in
measurements; so were plain counts, which one wholesale order of 300 items dominates.

Rules: Agrawal, Imieliński, Swami, SIGMOD 1993 (`association_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.event_tables import Baskets
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.weighting import half_life_decay
from recsys.ids import Array
from recsys.models.baskets.association_rules import AssociationRules, association_rules
from recsys.models.baskets.cold_item_rules import ColdItemRulesConfig, cold_item_rules
from recsys.models.baskets.substitutes import category_factors
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.neighbour_kernel import weighted_rows
from recsys.models.scoring.neighbours import column, work
from recsys.models.scoring.saved_arrays import array_of, setting_of, sparse_arrays, square_of
from recsys.models.scoring.sparse_scores import (
    RowScorer,
    SparseScorer,
    largest_first,
    shares,
    stacked,
    without,
)
from recsys.models.scoring.top_n import top_n_of
from recsys.query.query import Query

LEAST_WEIGHT: Final = 1e-9
"""Smallest weight of a basket, so that old baskets keep a positive weight."""


class BoughtTogetherConfig(BaseModel):
    """`lift_above` 1 keeps the pairs that are bought together more often than by chance.

    A basket of n items weighs n^−`size_discount`, halved with every `half_life_days` of age, in the
    strength of a pair; evidence counts every basket alike. Baskets of more than `max_basket_items`
    are left out: they carry little information and cost the square of their size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int | None = Field(default=100, ge=1)
    min_customers: int = Field(default=3, ge=1)
    lift_above: float = Field(default=1.0, ge=0)
    max_basket_items: int | None = Field(default=400, ge=2)
    size_discount: float = Field(default=1.0, ge=0)
    half_life_days: float | None = Field(default=120.0, gt=0)
    shrinkage: float = Field(default=0.02, ge=0)
    """Prior weight, in average items, added to the divisor w_i of a rule's strength."""
    lift_power: float = Field(default=0.5, ge=0)
    sharpness: float = Field(default=2.0, gt=0)
    """The power p: 1 adds the strengths of a cart's items; above 1 the strongest counts more."""
    substitutes: bool = True
    """Whether pairs of one category weigh less where its items are rarely bought together."""
    borrowing: ColdItemRulesConfig = ColdItemRulesConfig()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule i ⇒ j rests on; see `AssociationRules`."""

    support: float
    confidence: float
    lift: float
    customers: int


@dataclass(frozen=True, slots=True)
class BoughtTogetherModel:
    """score(j) = (Σ_i s_ij^p)^(1/p) over the seeds i, p the sharpness: for one seed s_ij itself.

    s_ij = w_ij / (w_i + shrinkage) · log(1 + lift)^power · category factor, where w are weighted
    counts of baskets and the lift is of those. An item without rules gets those of the items
    with the most similar description (`cold_item_rules`).

    No opinion without seeds (the history does not count), on items that no rule reaches, and on
    the seeds themselves. `strength` is items × items, csr; `confidence`, `support`, `lift` and
    `customers` run parallel to its entries, customers 0 for the rules of a cold item.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    strength: csr_array
    confidence: NDArray[np.float32]
    support: NDArray[np.float32]
    lift: NDArray[np.float32]
    customers: NDArray[np.int32]
    sharpness: float
    powers: csr_array  # s^p, which add up

    @classmethod
    def of(
        cls,
        strength: csr_array,
        *,
        confidence: NDArray[np.float32],
        support: NDArray[np.float32],
        lift: NDArray[np.float32],
        customers: NDArray[np.int32],
        sharpness: float,
    ) -> BoughtTogetherModel:
        """The model of these rules."""
        powers = csr_array(
            (strength.data ** np.float32(sharpness), strength.indices, strength.indptr),
            shape=strength.shape,
            copy=False,
        )
        return cls(strength, confidence, support, lift, customers, sharpness, powers)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Gathers the rules of the seeds."""
        n_items = self.strength.shape[0]
        seeds = [np.unique(query.seeds) for query in queries]

        def contributions(row: int, item: int) -> Contributions:
            parts = column(self.powers, seeds[row], item)
            return largest_first(shares(seeds[row], parts, kind="seed"))

        if len(queries) == 1:
            ones = np.ones(len(seeds[0]), np.float32)
            numbers, sums = weighted_rows(self.powers, seeds[0], ones, without=seeds[0])
            rows = [(numbers, sums ** np.float32(1.0 / self.sharpness))]
            return RowScorer(n_items=n_items, rows=rows, contributions=contributions)
        left = stacked(
            [(items, np.ones(len(items), np.float32)) for items in seeds], n_columns=n_items
        )

        def rows_of(first: int, last: int) -> csr_array:
            chosen = left if last - first == len(queries) else left[first:last]
            matrix = without(csr_array(chosen @ self.powers), seeds[first:last])
            matrix.data = matrix.data ** np.float32(1.0 / self.sharpness)
            return matrix

        return SparseScorer(
            n_items=n_items,
            sizes=work(left, self.powers),
            rows_of=rows_of,
            contributions=contributions,
        )

    def evidence(self, seed: int, item: int) -> Evidence | None:
        """What the rule seed ⇒ item rests on, or None where there is none of its own."""
        first, last = self.strength.indptr[seed], self.strength.indptr[seed + 1]
        matches = np.flatnonzero(self.strength.indices[first:last] == item)
        if not len(matches) or not self.customers[first + matches[0]]:
            return None
        entry = int(first + matches[0])
        return Evidence(
            support=float(self.support[entry]),
            confidence=float(self.confidence[entry]),
            lift=float(self.lift[entry]),
            customers=int(self.customers[entry]),
        )

    def arrays(self) -> Mapping[str, Array]:
        """The rules and the one setting."""
        return {
            **sparse_arrays("strength", self.strength),
            "confidence": self.confidence,
            "support": self.support,
            "lift": self.lift,
            "customers": self.customers,
            "sharpness": np.array(self.sharpness),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> BoughtTogetherModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        strength = square_of(arrays, "strength")
        confidence = array_of(arrays, "confidence", dimensions=1)
        support = array_of(arrays, "support", dimensions=1)
        lift = array_of(arrays, "lift", dimensions=1)
        customers = array_of(arrays, "customers", dimensions=1, kind="i")
        sizes = {len(strength.data), len(confidence), len(support), len(lift), len(customers)}
        if len(sizes) != 1:
            raise BundleError(
                f"There are {len(strength.data)} rules with {len(confidence)} confidences, "
                f"{len(support)} supports, {len(lift)} lifts and {len(customers)} customer counts; "
                "rebuild the bundle."
            )
        return cls.of(
            strength,
            confidence=confidence,
            support=support,
            lift=lift,
            customers=customers,
            sharpness=setting_of(arrays, "sharpness"),
        )


def fit_bought_together(
    data: TrainingData, config: BoughtTogetherConfig, *, rng: np.random.Generator
) -> BoughtTogetherModel:
    """The rules above the floors, each item's strongest consequents."""
    del rng
    n_items = len(data.items)
    baskets = _without_large(data.baskets, config.max_basket_items)
    weights = _weights(baskets, config, now=data.as_of.timestamp())
    rules = association_rules(
        baskets,
        min_customers=config.min_customers,
        lift_above=config.lift_above,
        weights=weights,
    )
    strength = _strengths(rules, baskets, weights, config)
    if config.substitutes:
        factors = category_factors(baskets, weights, data.catalog.categories)
        category = data.catalog.categories[rules.antecedents]
        alike = (category >= 0) & (category == data.catalog.categories[rules.consequents])
        strength[alike] *= factors[category[alike]]
    if config.neighbours is not None:
        kept = _strongest(rules, strength, n_items, config.neighbours)
        rules, strength = rules.where(kept), strength[kept]
    starts = np.searchsorted(rules.antecedents, np.arange(n_items + 1)).astype(np.int32)
    counted = csr_array(
        (strength.astype(np.float32), rules.consequents, starts), shape=(n_items, n_items)
    )
    rows = cold_item_rules(counted, data, config.borrowing, n=config.neighbours)
    matrix, is_counted = _joined(counted, rows)

    def of_entries(values: NDArray[np.number], dtype: type) -> NDArray[Any]:
        spread: NDArray[Any] = np.zeros(len(is_counted), dtype)
        spread[is_counted] = values
        return spread

    return BoughtTogetherModel.of(
        matrix,
        confidence=of_entries(rules.confidence, np.float32),
        support=of_entries(rules.support, np.float32),
        lift=of_entries(rules.lift, np.float32),
        customers=of_entries(rules.customers, np.int32),
        sharpness=config.sharpness,
    )


def _without_large(baskets: Baskets, max_items: int | None) -> Baskets:
    if max_items is None:
        return baskets
    kept = np.flatnonzero(np.diff(baskets.matrix.indptr) <= max_items)
    return Baskets(csr_array(baskets.matrix[kept]), baskets.users[kept], baskets.times[kept])


def _weights(baskets: Baskets, config: BoughtTogetherConfig, *, now: float) -> NDArray[np.float64]:
    """size^−discount · 2^(−age / half-life) per basket."""
    sizes = np.maximum(np.diff(baskets.matrix.indptr), 1).astype(np.float64)
    weights = sizes**-config.size_discount
    if config.half_life_days is not None:
        weights *= half_life_decay(baskets.times, now=now, half_life_days=config.half_life_days)
    return np.asarray(np.maximum(weights, LEAST_WEIGHT), np.float64)


def _strengths(
    rules: AssociationRules,
    baskets: Baskets,
    weights: NDArray[np.float64],
    config: BoughtTogetherConfig,
) -> NDArray[np.float64]:
    """w_ij / (w_i + shrinkage · mean w) · log(1 + w_ij · Σ w / (w_i · w_j))^power."""
    matrix = baskets.matrix
    of_item = np.bincount(
        matrix.indices,
        np.repeat(weights, np.diff(matrix.indptr)),
        minlength=matrix.shape[1],
    )
    bought = of_item[of_item > 0]
    prior = config.shrinkage * float(bought.mean()) if len(bought) else 0.0
    both, w_i, w_j = rules.weight, of_item[rules.antecedents], of_item[rules.consequents]
    lift = both * of_item.sum() / (w_i * w_j)
    strengths: NDArray[np.float64] = both / (w_i + prior) * np.log1p(lift) ** config.lift_power
    return strengths


def _strongest(
    rules: AssociationRules, strength: NDArray[np.float64], n_items: int, n: int
) -> NDArray[np.bool_]:
    starts = np.searchsorted(rules.antecedents, np.arange(n_items + 1)).tolist()
    kept = np.ones(len(rules), np.bool_)
    for first, last in pairwise(starts):
        if last - first > n:
            best = top_n_of(rules.consequents[first:last], strength[first:last], n)
            kept[first:last] = np.isin(rules.consequents[first:last], best.numbers)
    return kept


def _joined(counted: csr_array, cold: csr_array) -> tuple[csr_array, NDArray[np.bool_]]:
    """Both matrices in one, and which of its entries are of the first; no row is in both."""
    together = csr_array(counted + cold)
    together.sort_indices()
    is_counted = np.diff(counted.indptr) > 0
    return together, np.repeat(is_counted, np.diff(together.indptr))


FAMILY: Final = ModelFamily(
    config=BoughtTogetherConfig,
    fit=fit_bought_together,
    model=BoughtTogetherModel,
    level="individual",
    labels={"en": "often bought together", "nl": "vaak samen gekocht"},
    needs=frozenset({"seeds"}),
    scores_seeds=False,
    paper=(
        "Agrawal, Imieliński, Swami: Mining association rules between sets of items in large "
        "databases, SIGMOD 1993"
    ),
    helps="Cart and item pages; needs baskets of more than one item.",
)
