"""EASE: linear item-to-item weights in closed form, for up to some 40,000 items.

Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidConfig
from recsys.ids import Numbers
from recsys.models.family import ModelFamily
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.neighbours import NeighbourModel
from recsys.models.search_space import Range

ROWS_AT_ONCE = 512
"""Rows of the item × item matrix that are filled or pruned at a time."""


class EASEConfig(BaseModel):
    """`reg` is the ridge λ. Of each item's weights the `neighbours` largest in size are kept.

    Time grows with the cube of the items, memory is 4 bytes × items²: 20,000 items take 1.6 GB,
    40,000 take 6.4 GB. Above `max_items` it refuses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reg: float = Field(default=200.0, gt=0)
    neighbours: int | None = Field(default=200, ge=1)
    binary: bool = True
    max_items: int = Field(default=40_000, ge=1)
    threads: int = Field(default=1, ge=1)


def fit_ease(data: TrainingData, config: EASEConfig, *, rng: np.random.Generator) -> NeighbourModel:
    """B = I − P / diag(P), P = (RᵀR + λI)⁻¹: the minimum of ‖R − RB‖² + λ‖B‖² with diag(B) = 0.

    Items that nobody has touched take no memory and get no weight. InvalidConfig above
    `max_items` items.
    """
    del rng
    matrix = binary_of(data.interactions) if config.binary else data.interactions
    touched = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1])).astype(
        np.int32
    )
    n_items = len(touched)
    if n_items > config.max_items:
        raise InvalidConfig(
            "models.ease.max_items",
            config.max_items,
            f"there are {n_items:,} items with events, for which EASE would hold "
            f"{4e-9 * n_items**2:.1f} GB. Use random_walk, item_item or ials instead, or set "
            "max_items higher where the machine has that much.",
        )
    with threadpool_limits(config.threads, "blas"):
        inverse = _inverse(csr_array(matrix[:, touched]), config.reg)
    return NeighbourModel(
        _weights(inverse, touched, matrix.shape[1], config.neighbours), config.binary
    )


def _inverse(matrix: csr_array, reg: float) -> NDArray[np.float32]:
    """(RᵀR + λI)⁻¹, its lower triangle in column order, computed in the memory of its result."""
    n_items = matrix.shape[1]
    gram = np.empty((n_items, n_items), np.float32, order="F")
    by_item = csr_array(matrix.T.tocsr())
    for first in range(0, n_items, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, n_items)
        gram[:, first:last] = (by_item[first:last] @ matrix).toarray().T
    gram.flat[:: n_items + 1] += np.float32(reg)
    factor, failed = spotrf(gram, lower=True, overwrite_a=True, clean=False)
    if not failed:
        factor, failed = spotri(factor, lower=True, overwrite_c=True)
    if failed:
        raise InvalidConfig("models.ease.reg", reg, "RᵀR + reg is singular; set it higher.")
    return np.asarray(factor)


def _weights(
    inverse: NDArray[np.float32], touched: Numbers, n_all: int, n: int | None
) -> csr_array:
    """B pruned row by row, among all items. Reads the lower triangle of P alone."""
    n_items = len(touched)
    diagonal = inverse.diagonal().copy()
    columns: list[Numbers] = []
    values: list[NDArray[np.float32]] = []
    kept = n_items - 1 if n is None else min(n, n_items - 1)
    for first in range(0, n_items, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, n_items)
        # P is symmetric: row i is P[i, :i] and then P[i:, i].
        block = np.empty((last - first, n_items), np.float32)
        block[:, :first] = inverse[first:last, :first]
        block[:, last:] = inverse[last:, first:last].T
        corner = np.tril(inverse[first:last, first:last])
        block[:, first:last] = corner + np.tril(corner, -1).T
        block /= -diagonal
        block[np.arange(last - first), np.arange(first, last)] = 0.0
        for row in block:
            best = np.argpartition(-np.abs(row), kept - 1)[:kept] if kept else np.empty(0, np.intp)
            best = np.sort(best[row[best] != 0])
            columns.append(touched[best])
            values.append(row[best])
    lengths = np.zeros(n_all + 1, np.int64)
    lengths[1 + touched] = [len(items) for items in columns]
    starts = np.cumsum(lengths)
    return csr_array(
        (
            np.concatenate([*values, np.empty(0, np.float32)]),
            np.concatenate([*columns, np.empty(0, np.int32)]).astype(np.int32),
            starts.astype(np.int32) if starts[-1] < 2**31 else starts,
        ),
        shape=(n_all, n_all),
    )


FAMILY: Final = ModelFamily(
    config=EASEConfig,
    fit=fit_ease,
    model=NeighbourModel,
    level="individual",
    labels={"en": "goes with what you chose", "nl": "past bij wat je koos"},
    needs=frozenset({"history", "seeds"}),
    search_space={"reg": Range(20, 5000)},
    scores_seeds=False,
    paper="Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019",
    helps="Assortments of up to some 40,000 items with many interactions per item.",
)
