"""Bought together as prediction: from some items of a later basket, the others are predicted.

Compared with plain counts over all baskets, each summed over the cart: co-occurrence, lift with a
support of at least 3, the log-likelihood ratio (Dunning 1993), Jaccard and popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.evaluation.intervals import Values
from recsys.evaluation.metrics import hit_rate_at_k, reciprocal_rank_at_k
from recsys.ids import Numbers
from recsys.models.baskets.bought_together import BoughtTogetherConfig, fit_bought_together
from recsys.models.scoring.sparse_scores import stacked
from recsys.models.scoring.top_n import top_n
from recsys.query.builder import stranger_query
from training.benchmark.comparisons.rows import AsOf, ComparisonRow, rows_of
from training.config import Recipe

OURS: Final = "bought_together"
N: Final = 20
LEAST_SUPPORT: Final = 3
BATCH: Final = 500
"""Carts scored at once, which bounds the memory of dense scores."""


@dataclass(frozen=True, slots=True)
class Carts:
    """Part of each basket, and the rest of it, parallel."""

    given: list[Numbers]
    truth: list[Numbers]


def rows(
    as_of: AsOf, cut: datetime, until: datetime, *, recipe: Recipe, seed: int = 7
) -> list[ComparisonRow]:
    """Our model and the counting methods on the baskets of [cut, until): with one item given, and
    with half of the cart. Metrics: `hit_rate_at_10` and `mrr_at_20`.

    Baskets have at least two items that were sold before the cut; anonymous ones count.
    """
    known, later = as_of(cut), as_of(until)
    config = BoughtTogetherConfig.model_validate(recipe.models.get(OURS, {}))
    model = fit_bought_together(known, config, rng=np.random.default_rng(seed))

    def ours(carts: Sequence[Numbers]) -> list[Numbers]:
        everything = np.ones(len(known.items), np.bool_)
        queries = [stranger_query(cut, seeds=cart) for cart in carts]
        retrieved = model.condition(queries).retrieve(N, everything)
        return [scored.numbers for scored in retrieved]

    compared: list[ComparisonRow] = []
    methods = {OURS: ours, **counted_methods(known)}
    for protocol, half in (("one item given", False), ("half of the cart given", True)):
        carts = carts_of(known, later, cut, half=half, rng=np.random.default_rng(seed))
        measured = {
            name: _metrics(method(carts.given), carts.truth) for name, method in methods.items()
        }
        compared += rows_of(protocol, measured, ours=OURS, rng=np.random.default_rng(seed))
    return compared


def _metrics(lists: Sequence[Numbers], truth: Sequence[Numbers]) -> dict[str, Values]:
    return {
        "hit_rate_at_10": hit_rate_at_k(lists, truth, 10),
        "mrr_at_20": reciprocal_rank_at_k(lists, truth, N),
    }


def carts_of(
    known: TrainingData,
    later: TrainingData,
    cut: datetime,
    *,
    half: bool,
    rng: np.random.Generator,
) -> Carts:
    """The baskets after the cut in the numbers of `known`, a random item or half of each given."""
    matrix = later.baskets.matrix
    given, truth = [], []
    for basket in np.flatnonzero(later.baskets.times >= cut.timestamp()).tolist():
        items = matrix.indices[matrix.indptr[basket] : matrix.indptr[basket + 1]]
        numbers = rng.permutation(known.items.known(later.items.ids(items)))
        if len(numbers) < 2:
            continue
        n_given = len(numbers) // 2 if half else 1
        given.append(numbers[:n_given])
        truth.append(numbers[n_given:])
    return Carts(given, truth)


def counted_methods(
    known: TrainingData,
) -> Mapping[str, Callable[[Sequence[Numbers]], list[Numbers]]]:
    """Method → lists for carts, by plain counts over all baskets."""
    matrix = csr_array(known.baskets.matrix.astype(np.float64))
    together = csr_array(matrix.T.tocsr() @ matrix)
    each = np.asarray(together.diagonal(), np.float64)
    n = float(matrix.shape[0])
    pairs = together.tocoo()
    rows, columns = pairs.coords
    apart = rows != columns
    rows, columns, both = rows[apart], columns[apart], pairs.data[apart]
    lift = both * n / (each[rows] * each[columns])
    strengths = {
        "co-occurrence": both,
        "lift (support ≥ 3)": np.where(both >= LEAST_SUPPORT, lift, 0.0),
        "log-likelihood ratio": np.where(
            lift > 1, log_likelihood_ratio(both, each[rows], each[columns], n), 0.0
        ),
        "Jaccard": both / (each[rows] + each[columns] - both),
    }

    def summed(values: NDArray[np.float64]) -> Callable[[Sequence[Numbers]], list[Numbers]]:
        weights = csr_array((values, (rows, columns)), shape=together.shape)
        return lambda carts: _lists(weights, carts)

    def popular(carts: Sequence[Numbers]) -> list[Numbers]:
        return [_best(each, cart) for cart in carts]

    return {**{name: summed(values) for name, values in strengths.items()}, "popularity": popular}


def log_likelihood_ratio(
    both: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64], n: float
) -> NDArray[np.float64]:
    """Dunning's G² of the 2 × 2 table of two items over n baskets."""

    def entropy(*counts: NDArray[np.float64]) -> Any:
        return sum(count * np.log(np.maximum(count, 1e-300)) for count in counts)

    only_first, only_second = first - both, second - both
    neither = n - first - second + both
    whole = np.full_like(both, n)
    return np.asarray(
        2.0
        * (
            entropy(both, only_first, only_second, neither)
            - entropy(first, n - first, second, n - second)
            + entropy(whole)
        )
    )


def _lists(weights: csr_array, carts: Sequence[Numbers]) -> list[Numbers]:
    """Each cart's best items by the summed rows of its items."""
    lists: list[Numbers] = []
    for first in range(0, len(carts), BATCH):
        some = carts[first : first + BATCH]
        given = stacked(
            [(cart, np.ones(len(cart), np.float32)) for cart in some], n_columns=weights.shape[0]
        )
        summed = (given @ weights).toarray()
        lists += [_best(summed[row], cart) for row, cart in enumerate(some)]
    return lists


def _best(scores: NDArray[np.float64], cart: Numbers) -> Numbers:
    offered = np.where(scores > 0, scores, np.nan).astype(np.float32)
    return top_n(offered, N, exclude=cart).numbers
