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
from recsys.ids import Array, Numbers, Scores
from recsys.query.query import Query
from recsys.ranking.features import COLUMNS, ItemFacts, feature_matrix


@dataclass(frozen=True, slots=True)
class Ranker:
    """Orders the best `candidates` of a blend anew. `models` are those whose scores are features.

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
        """The ranker of these texts; BundleError where they have other columns (`column_names`)."""
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
    a candidate. (Ranks would depend on the rest, and improved nothing when
    measured.)
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

    A node sends a value ≤ `thresholds` to its left, else to its right; a missing one counts as
    `fills`: −∞ or ∞ by the side that training chose, 0 where the node saw none missing. Node k has
    `children[2k]` on its left and `children[2k + 1]` on its right; one below 0 is leaf ~child of
    `leaf_values`.
    """

    columns: tuple[str, ...]
    roots: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    fills: NDArray[np.float32]
    children: NDArray[np.int32]
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
            fills=np.where(kinds == 2, np.where(decisions & 2, -np.inf, np.inf), 0.0).astype(
                np.float32
            ),
            children=np.stack([joined["left_child"], joined["right_child"]], axis=1)
            .astype(np.int32)
            .ravel(),
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
            fills=put_together("fills"),
            children=moved("children"),
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
            self.fills,
            self.children,
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
    fills: NDArray[np.float32],
    children: NDArray[np.int32],
    leaf_values: NDArray[np.float64],
) -> NDArray[np.float64]:
    n = len(matrix)
    scores = np.zeros(n, np.float64)
    for root in roots:
        row = 0
        # Four rows are walked interleaved, so that memory latencies overlap: twice as fast.
        while row + 4 <= n:
            a, b, c, d = root, root, root, root
            while a >= 0 or b >= 0 or c >= 0 or d >= 0:
                if a >= 0:
                    value = matrix[row, features[a]]
                    value = fills[a] if np.isnan(value) else value
                    a = children[2 * a + (1 if value > thresholds[a] else 0)]
                if b >= 0:
                    value = matrix[row + 1, features[b]]
                    value = fills[b] if np.isnan(value) else value
                    b = children[2 * b + (1 if value > thresholds[b] else 0)]
                if c >= 0:
                    value = matrix[row + 2, features[c]]
                    value = fills[c] if np.isnan(value) else value
                    c = children[2 * c + (1 if value > thresholds[c] else 0)]
                if d >= 0:
                    value = matrix[row + 3, features[d]]
                    value = fills[d] if np.isnan(value) else value
                    d = children[2 * d + (1 if value > thresholds[d] else 0)]
            scores[row] += leaf_values[~a]
            scores[row + 1] += leaf_values[~b]
            scores[row + 2] += leaf_values[~c]
            scores[row + 3] += leaf_values[~d]
            row += 4
        while row < n:
            a = root
            while a >= 0:
                value = matrix[row, features[a]]
                value = fills[a] if np.isnan(value) else value
                a = children[2 * a + (1 if value > thresholds[a] else 0)]
            scores[row] += leaf_values[~a]
            row += 1
    return scores
