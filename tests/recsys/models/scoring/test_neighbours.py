"""The compiled serving path gives what the matrix product gives."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from recsys.models.scoring.neighbour_kernel import weighted_rows


def test_the_compiled_row_is_that_of_the_matrix_product() -> None:
    rng = np.random.default_rng(4)
    dense = (rng.random((60, 60)) < 0.2) * rng.normal(size=(60, 60))
    matrix = csr_array(dense.astype(np.float32))
    for _ in range(20):
        rows = np.sort(rng.choice(60, rng.integers(0, 9), replace=False)).astype(np.int32)
        weights = rng.normal(size=len(rows)).astype(np.float32)
        columns, sums = weighted_rows(matrix, rows, weights)
        vector = np.zeros(60, np.float32)
        vector[rows] = weights
        expected = csr_array(csr_array(vector[None, :]) @ matrix)
        expected.sort_indices()
        np.testing.assert_array_equal(columns, expected.indices)
        np.testing.assert_allclose(sums, expected.data, rtol=1e-4, atol=1e-5)
