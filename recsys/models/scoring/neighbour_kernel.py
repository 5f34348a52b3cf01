"""One query over the rows of a sparse matrix, compiled: the serving path of item-to-item models.

The slow references are `vector @ matrix` and `matrix[rows] @ vector` in SciPy, which cost ten times
as much for a single query, nearly all of it in building and checking matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.ids import NONE, Numbers
from recsys.kernels import PAIRS, read_only


def weighted_rows(
    matrix: csr_array,
    rows: Numbers,
    weights: NDArray[np.float32],
    *,
    without: Numbers = NONE,
) -> tuple[Numbers, NDArray[np.float32]]:
    """Σ_r weight_r · matrix[r]: the columns that any of the rows has, ascending, and their sums.

    The columns `without` are left out.
    """
    columns, sums = _weighted_rows(
        matrix.indptr,
        matrix.indices,
        matrix.data,
        np.ascontiguousarray(rows, np.int32),
        np.ascontiguousarray(weights, np.float32),
        np.ascontiguousarray(without, np.int32),
        matrix.shape[1],
    )
    return columns, sums


def row_products(
    matrix: csr_array, rows: Numbers, vector: NDArray[np.float64]
) -> NDArray[np.float64]:
    """matrix[rows] @ vector."""
    products: NDArray[np.float64] = _row_products(
        matrix.indptr,
        matrix.indices,
        matrix.data,
        np.ascontiguousarray(rows, np.int32),
        np.ascontiguousarray(vector, np.float64),
    )
    return products


def present_weights(
    matrix: csr_array, rows: Numbers, weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Per column the weight of the rows that have an entry there, whatever its value."""
    on_column: NDArray[np.float64] = _present_weights(
        matrix.indptr,
        matrix.indices,
        np.ascontiguousarray(rows, np.int32),
        np.ascontiguousarray(weights, np.float32),
        matrix.shape[1],
    )
    return on_column


_NUMBERS = read_only(types.int32)
_FLOATS = read_only(types.float32)
_INDICES = (read_only(types.int32), read_only(types.int64))
"""SciPy numbers the entries of a matrix that has very many of them in 64 bits."""


def _for_both(returns: Any, *rest: Any) -> list[Any]:
    return [returns(indices, indices, *rest) for indices in _INDICES]


@njit(
    _for_both(
        PAIRS,
        _FLOATS,
        _NUMBERS,
        _FLOATS,
        _NUMBERS,
        types.int64,
    ),
    cache=True,
    nogil=True,
)
def _weighted_rows(indptr, indices, values, rows, weights, without, n_columns):  # type: ignore[no-untyped-def]
    # One bit per column says whether it is touched; its sum is not written before, so that a
    # million columns cost no more than the entries met.
    sums = np.empty(n_columns, np.float32)
    touched = np.zeros((n_columns >> 6) + 1, np.uint64)
    count = 0
    for index in range(len(rows)):
        row, weight = rows[index], weights[index]
        for entry in range(indptr[row], indptr[row + 1]):
            column = indices[entry]
            bit = np.uint64(1) << np.uint64(column & 63)
            if touched[column >> 6] & bit:
                sums[column] += weight * values[entry]
            else:
                touched[column >> 6] |= bit
                sums[column] = weight * values[entry]
                count += 1
    for column in without:
        touched[column >> 6] &= ~(np.uint64(1) << np.uint64(column & 63))
    columns = np.empty(count, np.int32)
    totals = np.empty(count, np.float32)
    count = 0
    for word in range(len(touched)):
        bits = touched[word]
        column = word << 6
        while bits:
            if bits & np.uint64(1):
                columns[count] = column
                totals[count] = sums[column]
                count += 1
            bits >>= np.uint64(1)
            column += 1
    return columns[:count], totals[:count]


@njit(
    _for_both(types.float64[::1], _FLOATS, _NUMBERS, read_only(types.float64)),
    cache=True,
    nogil=True,
)
def _row_products(indptr, indices, values, rows, vector):  # type: ignore[no-untyped-def]
    products = np.zeros(len(rows))
    for index in range(len(rows)):
        row = rows[index]
        total = 0.0
        for entry in range(indptr[row], indptr[row + 1]):
            total += values[entry] * vector[indices[entry]]
        products[index] = total
    return products


@njit(
    _for_both(types.float64[::1], _NUMBERS, _FLOATS, types.int64),
    cache=True,
    nogil=True,
)
def _present_weights(indptr, indices, rows, weights, n_columns):  # type: ignore[no-untyped-def]
    on_column = np.zeros(n_columns)
    for index in range(len(rows)):
        row = rows[index]
        for entry in range(indptr[row], indptr[row + 1]):
            on_column[indices[entry]] += weights[index]
    return on_column
