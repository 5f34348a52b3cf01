"""Association rules between two items, with the support of each in distinct customers.

Agrawal, Imieliński, Swami: Mining association rules between sets of items in large databases,
SIGMOD 1993.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.event_tables import Baskets
from recsys.ids import Numbers
from recsys.models.scoring.neighbours import product_spans


@dataclass(frozen=True, slots=True)
class AssociationRules:
    """One-to-one rules i ⇒ j: parallel arrays, by i and then j.

    `support` is the share of baskets with both, `confidence` P(j | i), `lift` P(j | i) / P(j),
    `customers` how many distinct ones bought both in one basket (an anonymous basket is one),
    `weight` the summed weights of the baskets with both, each 1 unless `weights` are given.
    """

    antecedents: Numbers
    consequents: Numbers
    support: NDArray[np.float64]
    confidence: NDArray[np.float64]
    lift: NDArray[np.float64]
    customers: NDArray[np.int64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.antecedents)

    def where(self, chosen: NDArray[np.bool_]) -> AssociationRules:
        """The rules under a mask."""
        return AssociationRules(
            self.antecedents[chosen],
            self.consequents[chosen],
            self.support[chosen],
            self.confidence[chosen],
            self.lift[chosen],
            self.customers[chosen],
            self.weight[chosen],
        )


def association_rules(
    baskets: Baskets,
    *,
    min_customers: int = 1,
    lift_above: float = 0.0,
    weights: NDArray[np.float64] | None = None,
) -> AssociationRules:
    """Every ordered pair of items that share a basket as a rule, above the floors.

    `weights` (one per basket, above 0) are summed beside the counts, which they do not change.
    Computed in blocks of items: memory grows with what passes the floors.
    """
    matrix = baskets.matrix
    n_baskets, n_items = matrix.shape
    # Anonymous baskets are customers of their own.
    anonymous = n_baskets + np.arange(n_baskets)
    _, customers = np.unique(
        np.where(baskets.users >= 0, baskets.users, anonymous), return_inverse=True
    )
    in_baskets = np.bincount(matrix.indices, minlength=n_items).astype(np.float64)
    by_item = csr_array(matrix.T.tocsr())
    weighted = None
    if weights is not None:
        values = matrix.data * np.repeat(weights, np.diff(matrix.indptr))
        weighted = csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
    parts = [
        _rules_of(by_item, matrix, weighted, customers, in_baskets, span, min_customers, lift_above)
        for span in product_spans(by_item, matrix)
    ]
    if not parts:
        nothing = np.empty(0)
        none = np.empty(0, np.int32)
        return AssociationRules(
            none, none, nothing, nothing, nothing, np.empty(0, np.int64), nothing
        )
    return AssociationRules(
        np.concatenate([rules.antecedents for rules in parts]),
        np.concatenate([rules.consequents for rules in parts]),
        np.concatenate([rules.support for rules in parts]),
        np.concatenate([rules.confidence for rules in parts]),
        np.concatenate([rules.lift for rules in parts]),
        np.concatenate([rules.customers for rules in parts]),
        np.concatenate([rules.weight for rules in parts]),
    )


def _rules_of(
    by_item: csr_array,
    matrix: csr_array,
    weighted: csr_array | None,
    customers: NDArray[np.int64],
    in_baskets: NDArray[np.float64],
    span: tuple[int, int],
    min_customers: int,
    lift_above: float,
) -> AssociationRules:
    first, last = span
    n_baskets = matrix.shape[0]
    block = by_item[first:last]
    product = csr_array(block @ matrix)
    product.sort_indices()
    together = product.tocoo()
    items = (together.coords[0] + first).astype(np.int32)
    others = together.coords[1].astype(np.int32)
    both = together.data.astype(np.float64)
    support = both / n_baskets
    confidence = both / in_baskets[items]
    lift = confidence / (in_baskets[others] / n_baskets)
    weight = both
    if weighted is not None:
        summed = csr_array(block @ weighted)
        summed.sort_indices()
        weight = summed.data
    # A pair has customers and weight exactly where it has baskets: all list the same pairs.
    distinct = _customers_of(block, matrix, customers).data.astype(np.int64)
    kept = (items != others) & (distinct >= min_customers) & (lift > lift_above)
    return AssociationRules(items, others, support, confidence, lift, distinct, weight).where(kept)


def _customers_of(block: csr_array, matrix: csr_array, customers: NDArray[np.int64]) -> csr_array:
    """Items of the block × items: distinct customers with both in one basket; sorted."""
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    n_customers = int(customers.max(initial=-1)) + 1
    # One row per (item, customer): the union of that customer's baskets that hold the item.
    keys, group = np.unique(rows * n_customers + customers[block.indices], return_inverse=True)
    grouping = csr_array(
        (np.ones(len(group), np.float32), (group, block.indices)),
        shape=(len(keys), matrix.shape[0]),
    )
    union = csr_array(grouping @ matrix)
    union.data[:] = 1.0
    counting = csr_array(
        (np.ones(len(keys), np.float32), (keys // max(n_customers, 1), np.arange(len(keys)))),
        shape=(block.shape[0], len(keys)),
    )
    counted = csr_array(counting @ union)
    counted.sort_indices()
    return counted
