"""The normal equations of every row of a sparse matrix against fixed factors, block by block.

Rendle, Krichene, Zhang, Koren: iALS++: Speeding up matrix factorization with subspace
optimization, 2021. One Newton step per block of coordinates; a single block is the exact solution.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recsys.errors import InvalidConfig

Factors = NDArray[np.float32]

ROWS_AT_ONCE: Final = 2048
"""Rows per work item of a thread."""
PANEL: Final = 8
"""Rows of the triangular factor computed before the trailing matrix is updated."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """The regularisation of a row: ridge and unobserved weight.

    A row of observed weights c has ridge · (Σc + unobserved · columns)^exponent · ‖x‖², and each of
    its columns, observed or not, unobserved · (x · y)².
    """

    ridge: float
    exponent: float
    unobserved: float

    def ridges(self, totals: NDArray[np.float64], n_columns: int) -> NDArray[np.float64]:
        """The ridge of rows with these summed weights."""
        sizes = np.asarray(totals, np.float64) + self.unobserved * n_columns
        return np.asarray(self.ridge * sizes**self.exponent)


def improve(
    factors: Factors,
    observed: csr_array,
    fixed: Factors,
    penalty: Penalty,
    *,
    n_columns: int,
    block: int,
    threads: int = 1,
) -> float:
    """Overwrites `factors` (rows × embedding), each row closer to its minimum; returns the error.

    Row u minimises Σ_i c_ui (1 − x·y_i)² + unobserved · Σ_all (x·y)² + ridge_u ‖x‖² over `fixed`
    (columns × embedding); `n_columns` are the columns that count for the ridge. The error is
    Σ c (1 − x·y)² after the step. Rows without observation become 0. Every row is solved by itself:
    the number of threads changes nothing.
    """
    with threadpool_limits(1, "blas"):
        gram = fixed.T @ fixed
        gram *= np.float32(penalty.unobserved)
        totals = np.asarray(observed.sum(axis=1), np.float64).ravel()
        ridges = penalty.ridges(totals, n_columns).astype(np.float32)
        errors = np.zeros(len(factors), np.float64)

        def solve(first: int) -> bool:
            span = first, min(first + ROWS_AT_ONCE, len(factors))
            starts, columns, values = observed.indptr, observed.indices, observed.data
            return bool(
                _improve_rows(
                    factors, starts, columns, values, fixed, gram, ridges, block, *span, errors
                )
            )

        firsts = range(0, len(factors), ROWS_AT_ONCE)
        with ThreadPoolExecutor(threads) as pool:
            if not all(list(pool.map(solve, firsts))):
                raise InvalidConfig(
                    "reg", penalty.ridge, "the equations have no solution with it; set it higher."
                )
    return float(errors.sum())


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _improve_rows(
    factors: Factors,
    starts: NDArray[np.integer],
    columns: NDArray[np.int32],
    values: Factors,
    fixed: Factors,
    gram: Factors,
    ridges: Factors,
    block: int,
    first: int,
    last: int,
    errors: NDArray[np.float64],
) -> bool:
    """`improve` for the rows first to last; False where an equation is not positive definite."""
    width = factors.shape[1]
    longest = 0
    for row in range(first, last):
        longest = max(longest, starts[row + 1] - starts[row])
    n_blocks = (width + block - 1) // block
    gathered = np.empty((n_blocks, longest * block), np.float32)
    weighted = np.empty(longest * block, np.float32)
    panel = np.empty((PANEL, block), np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        n = end - begin
        x = factors[row]
        if n == 0:
            x[:] = 0.0
            continue
        c = values[begin:end]
        predicted = np.zeros(n, np.float32)
        for number in range(n_blocks):
            start = number * block
            size = min(block, width - start)
            part = gathered[number, : n * size].reshape(n, size)
            for entry in range(n):
                source = fixed[columns[begin + entry]]
                total = np.float32(0.0)
                for d in range(size):
                    value = source[start + d]
                    part[entry, d] = value
                    total += value * x[start + d]
                predicted[entry] += total
        for number in range(n_blocks):
            start = number * block
            size = min(block, width - start)
            part = gathered[number, : n * size].reshape(n, size)
            scaled = weighted[: n * size].reshape(n, size)
            # Half the negative gradient: Yᵀ C (1 − Yx) − (α₀G + λI) x, for this block.
            step = -ridges[row] * x[start : start + size]
            for d in range(size):
                total = np.float32(0.0)
                for other in range(width):
                    total += gram[start + d, other] * x[other]
                step[d] -= total
            for entry in range(n):
                pull = c[entry] * (np.float32(1.0) - predicted[entry])
                for d in range(size):
                    scaled[entry, d] = c[entry] * part[entry, d]
                    step[d] += pull * part[entry, d]
            # Half the Hessian: Yᵀ C Y + α₀G + λI, for this block.
            matrix = np.empty((size, size), np.float32)
            np.dot(part.T, scaled, matrix)
            for d in range(size):
                for other in range(size):
                    matrix[d, other] += gram[start + d, start + other]
                matrix[d, d] += ridges[row]
            if not _solve(matrix, step, panel):
                return False
            for d in range(size):
                x[start + d] += step[d]
            for entry in range(n):
                total = np.float32(0.0)
                for d in range(size):
                    total += part[entry, d] * step[d]
                predicted[entry] += total
        error = 0.0
        for entry in range(n):
            miss = 1.0 - predicted[entry]
            error += c[entry] * miss * miss
        errors[row] = error
    return True


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _solve(matrix: Factors, right: Factors, panel: Factors) -> bool:
    """Overwrites `right` with matrix⁻¹ · right by Cholesky; False if not positive definite.

    The upper triangle becomes U with matrix = UᵀU. All inner loops run along rows.
    """
    size = len(right)
    for first in range(0, size, PANEL):
        last = min(first + PANEL, size)
        for k in range(first, last):
            row = panel[k - first]
            for j in range(k, size):
                row[j] = matrix[k, j]
            for m in range(first, k):
                factor = panel[m - first, k]
                for j in range(k, size):
                    row[j] -= factor * panel[m - first, j]
            if not row[k] > 0.0:
                return False
            scale = np.float32(1.0) / np.sqrt(row[k])
            for j in range(k, size):
                row[j] *= scale
                matrix[k, j] = row[j]
        for i in range(last, size):
            a, b, c, d = panel[0, i], panel[1, i], panel[2, i], panel[3, i]
            e, f, g, h = panel[4, i], panel[5, i], panel[6, i], panel[7, i]
            target = matrix[i]
            for j in range(i, size):
                target[j] -= (
                    a * panel[0, j] + b * panel[1, j] + c * panel[2, j] + d * panel[3, j]
                ) + (e * panel[4, j] + f * panel[5, j] + g * panel[6, j] + h * panel[7, j])
    for k in range(size):
        right[k] /= matrix[k, k]
        for j in range(k + 1, size):
            right[j] -= right[k] * matrix[k, j]
    for k in range(size - 1, -1, -1):
        total = np.float32(0.0)
        for j in range(k + 1, size):
            total += matrix[k, j] * right[j]
        right[k] = (right[k] - total) / matrix[k, k]
    return True
