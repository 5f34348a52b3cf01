"""Position bias: how likely each position of a list is looked at, learnt from impressions.

The position-based click model: P(click | term, item, position) = examined[position] ·
attraction[term, item]. Craswell, Zoeter, Taylor, Ramsey: An experimental comparison of click
position-bias models, WSDM 2008.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.impressions import NOT_TAKEN, Impressions

LAST_POSITION: Final = 199
"""Positions from here on count as one."""
ROUNDS: Final = 100


def position_bias(lists: Impressions, *, prior: float = 10.0) -> NDArray[np.float64]:
    """P(examined | position), by position from 0: at most 1, and 1 where it is largest.

    Expectation maximisation, in which what did not get a click was either not examined or did not
    attract:

        examined[p]    = mean over the rows at p of P(examined | click or none)
        attraction[ti] = (Σ P(attracted | …) + prior · mean) / (rows + prior)

    `prior` rows of the mean attraction keep items that always stood at one position from taking
    that position's share. A position that was seen less often leans to the one above it. A list
    without any click counts as well. One position, always 1, where there are no lists.
    """
    if not len(lists.items):
        return np.ones(1)
    positions = np.minimum(lists.positions, LAST_POSITION).astype(np.int64)
    n_positions = int(positions.max()) + 1
    terms = lists.terms[lists.of_rows()].astype(np.int64) + 1
    width = int(lists.items.max()) + 1
    _, pairs = np.unique(terms * width + lists.items, return_inverse=True)
    clicked = lists.outcomes > NOT_TAKEN
    at = np.bincount(positions, minlength=n_positions)
    shown = np.bincount(pairs)
    examined = np.linspace(1.0, 0.5, n_positions)
    attraction = np.full(len(shown), max(float(clicked.mean()), 1e-6))
    for _ in range(ROUNDS):
        both = examined[positions] * attraction[pairs]
        # Without a click: P(examined, not attracted) and P(attracted, not examined), each of all.
        silent = np.maximum(1.0 - both, 1e-12)
        was_examined = np.where(clicked, 1.0, (examined[positions] - both) / silent)
        attracted = np.where(clicked, 1.0, (attraction[pairs] - both) / silent)
        by_pair = np.bincount(pairs, attracted, minlength=len(shown))
        mean = by_pair.sum() / len(pairs)
        attraction = (by_pair + prior * mean) / (shown + prior)
        seen = np.bincount(positions, was_examined, minlength=n_positions)
        above = np.concatenate([examined[:1], examined[:-1]])
        examined = np.clip((seen + above) / (at + 1.0), 1e-3, 1.0)
    return np.asarray(examined / examined.max())
