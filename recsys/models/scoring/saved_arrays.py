"""The saved form of a model: named plain arrays, checked when they are read back.

A sparse matrix is three arrays and its shape, text is JSON in uint8, a setting is an array of no
dimension. Nothing here copies, so arrays that are memory-mapped stay so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import BundleError
from recsys.ids import Array


def text_array(value: object) -> NDArray[np.uint8]:
    """A JSON value as its UTF-8 bytes."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), np.uint8)


def text_of(arrays: Mapping[str, Array], name: str) -> Any:
    """The JSON value that `text_array` made; BundleError where it is missing or unreadable."""
    array = array_of(arrays, name, dimensions=1, kind="u")
    try:
        return json.loads(array.tobytes())
    except ValueError as error:
        raise BundleError(f"Array {name!r} holds no JSON text; rebuild the bundle.") from error


def array_of(arrays: Mapping[str, Array], name: str, *, dimensions: int, kind: str = "f") -> Array:
    """The array under a name; BundleError unless its dimensions and dtype kind are as expected."""
    if name not in arrays:
        raise BundleError(
            f"Array {name!r} is missing (there are {', '.join(sorted(arrays)) or 'none'}); "
            "rebuild the bundle."
        )
    # A plain view: slices of np.memmap cost several times those of an array.
    array = np.asarray(arrays[name])
    if array.ndim != dimensions or array.dtype.kind not in kind:
        raise BundleError(
            f"Array {name!r} has {array.ndim} dimensions of {array.dtype}; expected {dimensions} "
            f"of kind {kind!r}. Rebuild the bundle."
        )
    return array


def setting_of(arrays: Mapping[str, Array], name: str) -> float:
    """A number saved as an array of no dimension."""
    return float(array_of(arrays, name, dimensions=0, kind="fiub"))


def same_length(arrays: Mapping[str, Array], names: Sequence[str]) -> int:
    """The common length of arrays; BundleError where they differ."""
    lengths = {name: len(arrays[name]) for name in names}
    if len(set(lengths.values())) != 1:
        raise BundleError(f"Arrays differ in length ({lengths}); rebuild the bundle.")
    return next(iter(lengths.values()))


def sparse_arrays(name: str, matrix: csr_array) -> dict[str, Array]:
    """A sparse matrix as `<name>_starts`, `_columns`, `_values` and `_shape`."""
    return {
        f"{name}_starts": matrix.indptr,
        f"{name}_columns": matrix.indices,
        f"{name}_values": matrix.data,
        f"{name}_shape": np.array(matrix.shape, np.int64),
    }


def square_of(arrays: Mapping[str, Array], name: str) -> csr_array:
    """An item × item matrix; BundleError where it is not square."""
    matrix = sparse_of(arrays, name)
    if matrix.shape[0] != matrix.shape[1]:
        raise BundleError(f"Arrays {name!r}_* make {matrix.shape}, not items × items; rebuild it.")
    return matrix


def sparse_of(arrays: Mapping[str, Array], name: str) -> csr_array:
    """The matrix that `sparse_arrays` took apart, over the same memory."""
    starts = array_of(arrays, f"{name}_starts", dimensions=1, kind="i")
    columns = array_of(arrays, f"{name}_columns", dimensions=1, kind="i")
    values = array_of(arrays, f"{name}_values", dimensions=1)
    shape = array_of(arrays, f"{name}_shape", dimensions=1, kind="i")
    if (
        len(shape) != 2
        or len(starts) != shape[0] + 1
        or len(columns) != len(values)
        or starts[0] != 0
        or starts[-1] != len(columns)
        or (len(columns) and not (columns.min() >= 0 and columns.max() < shape[1]))
    ):
        raise BundleError(
            f"Arrays {name!r}_* do not make a sparse matrix of {shape.tolist()}; "
            "rebuild the bundle."
        )
    return csr_array((values, columns, starts), shape=(int(shape[0]), int(shape[1])), copy=False)
