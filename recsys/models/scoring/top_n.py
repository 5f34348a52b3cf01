"""Selection of the n best scores: the eligible mask, ties and length are decided here alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.kernels import NO_MASK, best_of_all, best_of_pairs
from recsys.models.protocol import ScoredItems

EMPTY = ScoredItems(NONE, np.empty(0, np.float32))


def top_n(
    scores: Scores, n: int, *, exclude: Numbers = NONE, allow: Mask | None = None
) -> ScoredItems:
    """The n best of a dense score array (index = item number), best first.

    NaN and −inf are no opinion and never appear. Ties go to the lower number. ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1.")
    if len(exclude):
        allow = np.ones(len(scores), np.bool_) if allow is None else allow.copy()
        allow[exclude] = False
    return ScoredItems(
        *best_of_all(np.ascontiguousarray(scores), NO_MASK if allow is None else allow, NO_MASK, n)
    )


def top_n_of(
    numbers: Numbers,
    scores: NDArray[np.floating],
    n: int,
    *,
    exclude: Numbers = NONE,
    allow: Mask | None = None,
) -> ScoredItems:
    """The n best of (number, score) pairs with distinct numbers; the rules of `top_n`.

    Scores that are not float32 are put in order at their own precision.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1.")
    if scores.dtype == np.float32:
        if len(exclude):
            shown = ~np.isin(numbers, exclude)
            numbers, scores = numbers[shown], scores[shown]
        return ScoredItems(
            *best_of_pairs(
                np.ascontiguousarray(numbers, np.int32),
                np.ascontiguousarray(scores),
                NO_MASK if allow is None else allow,
                n,
            )
        )
    chosen = np.isfinite(scores)
    if allow is not None:
        chosen &= allow[numbers]
    if len(exclude):
        chosen &= ~np.isin(numbers, exclude)
    if not chosen.all():
        numbers, scores = numbers[chosen], scores[chosen]
    if not len(numbers):
        return EMPTY
    if len(numbers) > n:
        # Everything at or above the n-th score, so that ties at the edge are broken by number.
        edge = np.partition(scores, len(scores) - n)[len(scores) - n]
        kept = np.flatnonzero(scores >= edge)
        numbers, scores = numbers[kept], scores[kept]
    order = np.lexsort((numbers, -scores))[:n]
    return ScoredItems(
        numbers[order].astype(np.int32, copy=False), scores[order].astype(np.float32, copy=False)
    )
