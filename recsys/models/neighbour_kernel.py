"""One query over the rows of a sparse matrix, compiled: the serving path of item-to-item models.

The slow reference is `vector @ matrix` in SciPy, which costs ten times as much for a single query,
nearly all of it in building and checking matrices.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.ids import Numbers


def weighted_rows(
    matrix: csr_array, rows: Numbers, weights: NDArray[np.float32]
) -> tuple[Numbers, NDArray[np.float32]]:
    """Σ_r weight_r · matrix[r]: the columns that any of the rows has, ascending, and their sums."""
    if not len(rows):
        return np.empty(0, np.int32), np.empty(0, np.float32)
    columns, sums = _weighted_rows(
        matrix.indptr, matrix.indices, matrix.data, rows, weights, matrix.shape[1]
    )
    return columns, sums


@njit(cache=True, nogil=True)
def _weighted_rows(indptr, indices, values, rows, weights, n_columns):  # type: ignore[no-untyped-def]
    # One bit per column says whether it is touched; its sum is not written before, so that a
    # million columns cost no more than the entries met.
    sums = np.empty(n_columns, np.float32)
    touched = np.zeros((n_columns >> 6) + 1, np.uint64)
    count = 0
    for place in range(len(rows)):
        row, weight = rows[place], weights[place]
        for entry in range(indptr[row], indptr[row + 1]):
            column = indices[entry]
            bit = np.uint64(1) << np.uint64(column & 63)
            if touched[column >> 6] & bit:
                sums[column] += weight * values[entry]
            else:
                touched[column >> 6] |= bit
                sums[column] = weight * values[entry]
                count += 1
    columns = np.empty(count, np.int32)
    found = np.empty(count, np.float32)
    count = 0
    for word in range(len(touched)):
        bits = touched[word]
        column = word << 6
        while bits:
            if bits & np.uint64(1):
                columns[count] = column
                found[count] = sums[column]
                count += 1
            bits >>= np.uint64(1)
            column += 1
    return columns, found
