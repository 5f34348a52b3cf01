"""The saved form: what was taken apart is put together again, what is damaged is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from recsys.errors import BundleError
from recsys.ids import Array
from recsys.models.scoring.saved_arrays import (
    array_of,
    sparse_arrays,
    sparse_of,
    square_of,
    text_array,
    text_of,
)


@pytest.fixture
def matrix() -> csr_array:
    return csr_array(
        random_array(
            (5, 7), density=0.4, format="csr", dtype=np.float32, rng=np.random.default_rng(0)
        )
    )


def test_a_sparse_matrix_comes_back_over_the_same_memory(matrix: csr_array) -> None:
    arrays = sparse_arrays("m", matrix)
    back = sparse_of(arrays, "m")
    np.testing.assert_array_equal(back.toarray(), matrix.toarray())
    assert np.shares_memory(back.data, matrix.data)


def test_an_item_matrix_that_is_not_square_is_refused(matrix: csr_array) -> None:
    with pytest.raises(BundleError, match="not items × items"):
        square_of(sparse_arrays("m", matrix), "m")


def test_text_comes_back_with_its_accents() -> None:
    value = ["café", "北京", {"a": 1}]
    assert text_of({"t": text_array(value)}, "t") == value


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("m_starts", lambda a: a[:-1]),
        ("m_starts", lambda a: np.append(a[:-1], a[-1] + 1)),
        ("m_starts", lambda a: a + 1),
        ("m_columns", lambda a: a[:-1]),
        ("m_columns", lambda a: np.where(a == a.max(), 7, a)),
        ("m_columns", lambda a: a - 1),
        ("m_columns", lambda a: a.astype(np.float32)),
        ("m_values", lambda a: a[:-1]),
        ("m_shape", lambda a: a[:1]),
        ("m_shape", lambda a: a - 1),
    ],
)
def test_a_damaged_sparse_matrix_is_refused_by_name(
    matrix: csr_array, name: str, change: object
) -> None:
    arrays: dict[str, Array] = sparse_arrays("m", matrix)
    damaged = {**arrays, name: change(arrays[name])}  # type: ignore[operator]
    with pytest.raises(BundleError, match="'m"):
        sparse_of(damaged, "m")


def test_a_missing_array_is_named_with_those_that_are_there() -> None:
    with pytest.raises(BundleError, match=r"'b' is missing \(there are a\)"):
        array_of({"a": np.zeros(3)}, "b", dimensions=1)


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(BundleError, match="no JSON"):
        text_of({"t": np.frombuffer(b"{oops", np.uint8)}, "t")
