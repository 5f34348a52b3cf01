"""Intervals beside means: the bootstrap over customers (Efron & Tibshirani 1993, ch. 13).

A customer is the unit that is drawn, so that one customer's many purchases count once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtri

Values = NDArray[np.float64]
"""One value per customer; NaN where the measure does not apply to that customer."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over customers with its two-sided percentile interval; NaN where nobody counts."""

    value: float
    low: float
    high: float
    customers: int


def estimates(
    table: Mapping[str, Values], *, rng: Generator, resamples: int = 1000, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Name → mean with interval, all from the same resamples of customers.

    The arrays have one length: row n of each is the same customer.
    """
    if not table:
        return {}
    names = list(table)
    matrix = np.column_stack([np.asarray(table[name], np.float64) for name in names])
    present = ~np.isnan(matrix)
    filled = np.where(present, matrix, 0.0)
    counts = present.sum(axis=0)
    means = _ratio(filled.sum(axis=0), counts.astype(np.float64))
    drawn = _resampled_means(filled, present, rng=rng, resamples=resamples)
    tail = (1.0 - confidence) / 2.0
    results = {}
    for column, name in enumerate(names):
        draws = drawn[:, column]
        draws = draws[~np.isnan(draws)]
        low, high = np.quantile(draws, [tail, 1.0 - tail]) if len(draws) else (np.nan, np.nan)
        results[name] = Estimate(float(means[column]), float(low), float(high), int(counts[column]))
    return results


def paired_differences(
    ours: Mapping[str, Values],
    theirs: Mapping[str, Values],
    *,
    rng: Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """Mean of (ours − theirs) per customer, for the measures that both have."""
    shared = [name for name in ours if name in theirs]
    table = {name: ours[name] - theirs[name] for name in shared}
    return estimates(table, rng=rng, resamples=resamples, confidence=confidence)


def _resampled_means(
    filled: Values, present: NDArray[np.bool_], *, rng: Generator, resamples: int
) -> Values:
    """resamples × columns; drawn in blocks so that memory stays below some 64 MB."""
    n = len(filled)
    block = max(1, min(resamples, 8_000_000 // max(n, 1)))
    indicator = present.astype(np.float64)
    parts = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        draws = rng.integers(0, n, size=(size, n)) + (np.arange(size) * n)[:, None]
        weights = np.bincount(draws.ravel(), minlength=size * n).reshape(size, n).astype(float)
        parts.append(_ratio(weights @ filled, weights @ indicator))
    return np.concatenate(parts)


def _ratio(sums: Values, counts: Values) -> Values:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Σ numerator / Σ denominator over customers, with its standard error; NaN where Σ is 0.

    A mean per customer has denominators of 1. `spread` is the standard deviation per customer, so
    that `error` = spread / √customers.
    """

    value: float
    error: float
    spread: float
    customers: int

    def interval(self, *, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided, by the normal approximation."""
        reach = _normal_quantile(confidence) * self.error
        return self.value - reach, self.value + reach


def ratio(numerators: Values, denominators: Values | None = None) -> Ratio:
    """The ratio of two sums over customers by the delta method: a customer counts once, however
    often they came.

    R = Σn / Σd; Var R ≈ N / (N − 1) · Σ (nᵢ − R dᵢ)² / (Σd)².
    Deng et al.: Applying the delta method in metric analytics, KDD 2018.
    """
    customers = len(numerators)
    below = np.ones(customers) if denominators is None else np.asarray(denominators, np.float64)
    total = float(below.sum())
    if total <= 0:
        return Ratio(float("nan"), float("nan"), float("nan"), customers)
    value = float(numerators.sum()) / total
    if customers < 2:
        return Ratio(value, float("nan"), float("nan"), customers)
    residuals = numerators - value * below
    variance = customers / (customers - 1) * float((residuals**2).sum()) / total**2
    error = float(np.sqrt(variance))
    return Ratio(value, error, error * float(np.sqrt(customers)), customers)


def difference(
    ours: Ratio, theirs: Ratio, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(ours − theirs, low, high) of two independent groups of customers."""
    gap = ours.value - theirs.value
    reach = _normal_quantile(confidence) * float(np.hypot(ours.error, theirs.error))
    return gap, gap - reach, gap + reach


def lift(ours: Ratio, theirs: Ratio, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """(ours / theirs − 1, low, high) by the delta method on the logarithm; NaN where one is 0."""
    if not (ours.value > 0 and theirs.value > 0):
        return float("nan"), float("nan"), float("nan")
    gain = float(np.log(ours.value / theirs.value))
    spread = float(np.hypot(ours.error / ours.value, theirs.error / theirs.value))
    reach = _normal_quantile(confidence) * spread
    low, middle, high = np.expm1([gain - reach, gain, gain + reach]).tolist()
    return middle, low, high


def _normal_quantile(confidence: float) -> float:
    return float(ndtri((1.0 + confidence) / 2.0))
