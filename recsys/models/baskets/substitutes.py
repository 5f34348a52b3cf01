"""How far the items of a category are substitutes: such items rarely share a basket."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.event_tables import Baskets

PRIOR: Final = 10.0
"""Pseudo-count of pairs at the expected rate in every category."""


def category_factors(
    baskets: Baskets, weights: NDArray[np.float64], categories: NDArray[np.integer]
) -> NDArray[np.float64]:
    """One factor per category code, at most 1: how often two of its items share a basket, over how
    often they would if a basket's other items were drawn from all that is bought.

    With k_b of the s_b items of basket b in category c, t_i = Σ_{b ∋ i} w_b · (s_b − 1) the
    partners that item i has met, T_c their sum over c and T over everything:

        observed = Σ_b w_b · k_b · (k_b − 1)        expected = (T_c² − Σ_{i ∈ c} t_i²) / T
        factor   = min(1, (observed + prior) / (expected + prior))

    Weights are scaled to a mean of 1, so that `PRIOR` counts pairs.
    """
    matrix = baskets.matrix
    n_categories = int(categories.max(initial=-1)) + 1
    sizes = np.diff(matrix.indptr)
    if not n_categories or not len(matrix.indices):
        return np.ones(n_categories)
    scaled = weights / weights.mean()
    partners = np.repeat(scaled * (sizes - 1), sizes)
    met = np.bincount(matrix.indices, partners, minlength=matrix.shape[1])
    known = categories >= 0
    of_category = np.bincount(categories[known], met[known], minlength=n_categories)
    squares = np.bincount(categories[known], met[known] ** 2, minlength=n_categories)
    expected = (of_category**2 - squares) / max(float(met.sum()), 1e-30)
    codes = categories[matrix.indices].astype(np.int64)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    cells, counts = np.unique((rows * n_categories + codes)[codes >= 0], return_counts=True)
    pairs = scaled[cells // n_categories] * counts * (counts - 1)
    observed = np.bincount(cells % n_categories, pairs, minlength=n_categories)
    return np.asarray(np.minimum(1.0, (observed + PRIOR) / (expected + PRIOR)))
