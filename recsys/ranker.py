"""The second stage: LambdaMART over the candidates of a placement's models.

Burges: From RankNet to LambdaRank to LambdaMART, 2010. The trees are LightGBM's, kept in its text
format and evaluated here, so that a service neither loads LightGBM nor starts its threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import BundleError
from recsys.features import COLUMNS, ItemFacts, feature_matrix
from recsys.ids import Numbers
from recsys.query import Array, Query, Scores


@dataclass(frozen=True, slots=True)
class Ranker:
    """Orders the best `candidates` of a blend anew. `models` are those whose scores it looks at.

    `facts` are as of the moment that the bundle was trained at; `texts` are LightGBM's models, each
    divided by its entry of `scales` before they are summed.
    """

    models: tuple[str, ...]
    candidates: int
    facts: ItemFacts
    texts: tuple[str, ...]
    scales: tuple[float, ...]
    trees: Trees

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        scales: Sequence[float],
        *,
        models: Sequence[str],
        candidates: int,
        facts: ItemFacts,
    ) -> Ranker:
        """The ranker of these texts; BundleError where their columns are not those of here."""
        expected = tuple(name.replace(" ", "_") for name in column_names(models))
        parsed = [
            Trees.parse(text).divided_by(scale) for text, scale in zip(texts, scales, strict=True)
        ]
        for trees in parsed:
            if trees.columns != expected:
                odd = sorted(set(trees.columns) ^ set(expected))
                raise BundleError(
                    f"The ranker's columns are not those of this code (they differ in {odd[:5]}); "
                    "train again with this code."
                )
        joined = Trees.joined(parsed)
        return cls(tuple(models), candidates, facts, tuple(texts), tuple(scales), joined)

    def scores(
        self,
        queries: Sequence[Query],
        numbers: Sequence[Numbers],
        parts: Sequence[NDArray[np.float32]],
        blended: Sequence[Scores],
    ) -> list[Scores]:
        """One score per candidate, row by row; higher is better, of no scale between queries.

        `numbers` are ascending; `parts` models × candidates in the order of `models`; `blended` the
        candidates' weighted sums.
        """
        matrix = ranking_matrix(self.facts, queries, numbers, parts, blended)
        scores = self.trees.predict(matrix).astype(np.float32)
        ends = np.cumsum([len(row) for row in numbers])
        return np.split(scores, ends[:-1]) if len(ends) else []


def column_names(models: Sequence[str]) -> list[str]:
    """The columns of `ranking_matrix`, in order."""
    return [*COLUMNS, *(f"score of {name}" for name in ("blend", *models))]


def ranking_matrix(
    facts: ItemFacts,
    queries: Sequence[Query],
    numbers: Sequence[Numbers],
    parts: Sequence[NDArray[np.float32]],
    blended: Sequence[Scores],
) -> NDArray[np.float32]:
    """One row per candidate, one column per name in `column_names`; NaN where none applies.

    Scores are scaled as `candidates.gather` scales them, so that a row is the same whatever else is
    a candidate. (Ranks among the candidates are not, and taught nothing more where we measured.)
    """
    features = feature_matrix(facts, queries, numbers)
    n_fixed, n_models = features.shape[1], len(parts[0]) if len(parts) else 0
    matrix = np.empty((len(features), n_fixed + 1 + n_models), np.float32)
    matrix[:, :n_fixed] = features
    first = 0
    for of_models, of_blend in zip(parts, blended, strict=True):
        rows = matrix[first : first + len(of_blend)]
        first += len(of_blend)
        rows[:, n_fixed] = of_blend
        rows[:, n_fixed + 1 :] = of_models.T
    return matrix


@dataclass(frozen=True, slots=True)
class Trees:
    """The trees of a LightGBM model as flat arrays over all nodes.

    A node sends a value ≤ `thresholds` to `left`, else to `right`; a missing one to the left where
    `missing_left`, and is taken for 0 where the node saw none missing (`knows_missing` False).
    A child below 0 is leaf ~child of `leaf_values`.
    """

    columns: tuple[str, ...]
    roots: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    knows_missing: NDArray[np.bool_]
    missing_left: NDArray[np.bool_]
    leaf_values: NDArray[np.float64]
    split_gains: NDArray[np.float64]

    @classmethod
    def parse(cls, text: str) -> Trees:
        """The trees in LightGBM's text format; BundleError for what is not evaluated here."""
        head, *blocks = text.split("\nTree=")
        try:
            columns = _fields(head)["feature_names"].split()
            trees = [_fields(block.partition("\nend of trees")[0]) for block in blocks]
            nodes, n_leaves = 0, 0
            parts: dict[str, list[Array]] = {name: [] for name in _NODE_FIELDS}
            roots, leaf_values = [], []
            for tree in trees:
                if int(tree.get("num_cat", "0")) or int(tree.get("is_linear", "0")):
                    raise BundleError("The ranker has categorical splits or linear leaves.")
                values = _numbers(tree["leaf_value"], np.float64)
                leaf_values.append(values)
                if len(values) == 1:
                    roots.append(~n_leaves)
                else:
                    roots.append(nodes)
                    for name in ("left_child", "right_child"):
                        child = _numbers(tree[name], np.int64)
                        parts[name].append(np.where(child >= 0, child + nodes, child - n_leaves))
                    for name in ("split_feature", "decision_type"):
                        parts[name].append(_numbers(tree[name], np.int64))
                    for name in ("threshold", "split_gain"):
                        parts[name].append(_numbers(tree[name], np.float64))
                    nodes += len(values) - 1
                n_leaves += len(values)
        except (KeyError, ValueError) as error:
            raise BundleError(f"The ranker's text is damaged: {error}") from error
        joined = {name: np.concatenate([*arrays, np.empty(0)]) for name, arrays in parts.items()}
        decisions = joined["decision_type"].astype(np.int64)
        # Bit 1: missing goes left. Bits 2 and 3: 0 nothing missing, 1 zero is missing, 2 NaN is.
        kinds = (decisions >> 2) & 3
        if (kinds == 1).any() or "average_output" in head.split("\n"):
            raise BundleError("The ranker takes zero for missing, or averages its trees.")
        return cls(
            columns=tuple(columns),
            roots=np.array(roots, np.int32),
            features=joined["split_feature"].astype(np.int32),
            thresholds=joined["threshold"],
            left=joined["left_child"].astype(np.int32),
            right=joined["right_child"].astype(np.int32),
            knows_missing=kinds == 2,
            missing_left=(decisions & 2) > 0,
            leaf_values=np.concatenate([*leaf_values, np.empty(0)]),
            split_gains=joined["split_gain"],
        )

    @classmethod
    def joined(cls, parts: Sequence[Trees]) -> Trees:
        """All trees of several models with the same columns, whose scores add up."""
        nodes = np.cumsum([0, *(len(part.features) for part in parts)])
        leaves = np.cumsum([0, *(len(part.leaf_values) for part in parts)])

        def moved(name: str) -> NDArray[np.int32]:
            # A child at or above 0 is a node, below 0 the complement of a leaf.
            children = [
                np.where(child >= 0, child + node, child - leaf)
                for part, node, leaf in zip(parts, nodes, leaves, strict=False)
                for child in [getattr(part, name)]
            ]
            return np.concatenate(children).astype(np.int32)

        def put_together(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            columns=parts[0].columns,
            roots=moved("roots"),
            features=put_together("features"),
            thresholds=put_together("thresholds"),
            left=moved("left"),
            right=moved("right"),
            knows_missing=put_together("knows_missing"),
            missing_left=put_together("missing_left"),
            leaf_values=put_together("leaf_values"),
            split_gains=put_together("split_gains"),
        )

    def divided_by(self, scale: float) -> Trees:
        """Trees with scores, and gains, over a scale."""
        return replace(
            self, leaf_values=self.leaf_values / scale, split_gains=self.split_gains / scale
        )

    def gains(self) -> NDArray[np.float64]:
        """What the splits on each column gained in training, summed."""
        summed = np.bincount(self.features, self.split_gains, minlength=len(self.columns))
        return summed.astype(np.float64)

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw score of each row: the sum of one leaf per tree."""
        if matrix.ndim != 2 or matrix.shape[1] != len(self.columns):
            raise ValueError(f"The matrix is {matrix.shape}; give {len(self.columns)} columns.")
        scores: NDArray[np.float64] = _predict(
            np.ascontiguousarray(matrix, np.float32),
            self.roots,
            self.features,
            self.thresholds,
            self.left,
            self.right,
            self.knows_missing,
            self.missing_left,
            self.leaf_values,
        )
        return scores


_NODE_FIELDS: Final = (
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "split_gain",
)


def _fields(block: str) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in block.split("\n"))
    return {name: value for name, sign, value in pairs if sign}


def _numbers(text: str, dtype: Any) -> Array:
    return np.array(text.split(), np.float64).astype(dtype)


@njit(cache=True, nogil=True)
def _predict(
    matrix: NDArray[np.float32],
    roots: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    knows_missing: NDArray[np.bool_],
    missing_left: NDArray[np.bool_],
    leaf_values: NDArray[np.float64],
) -> NDArray[np.float64]:
    scores = np.zeros(len(matrix), np.float64)
    for root in roots:
        for row in range(len(matrix)):
            node = root
            while node >= 0:
                value = np.float64(matrix[row, features[node]])
                if np.isnan(value):
                    if knows_missing[node]:
                        node = left[node] if missing_left[node] else right[node]
                        continue
                    value = np.float64(0.0)
                node = left[node] if value <= thresholds[node] else right[node]
            scores[row] += leaf_values[~node]
    return scores
