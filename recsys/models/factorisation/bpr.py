"""BPR: ranks chosen items above items not chosen; a user is the pooled vector of their items.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit
feedback, UAI 2009, with users as in Kabbur, Ning, Karypis: FISM: factored item similarity models,
KDD 2013. Users have no vector of their own, so training and serving compute the same score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.ids import Array, Mask, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.dense_index import DenseIndex, index_arrays
from recsys.models.scoring.dense_scores import DenseScorer
from recsys.models.scoring.saved_arrays import array_of, setting_of
from recsys.models.scoring.sparse_scores import largest_first, shares
from recsys.models.search_space import Choice, Range
from recsys.query.history import History
from recsys.query.query import Query

ITEMS_PER_CANDIDATE: Final = 256

Progress = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and the mean loss of a pair."""


class BPRConfig(BaseModel):
    """Of `candidates` random items that were not chosen, the one scored highest is the opponent.

    At most 1 + items / 256 candidates are drawn: in a small assortment the hardest negatives are
    mostly items that the user would have chosen.
    `pooling` p divides the pooled vector by (Σ weights)^p: 1 is a mean, 0 a sum.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_size: int = Field(default=64, ge=1, le=1024)
    learning_rate: float = Field(default=0.1, gt=0)
    reg: float = Field(default=0.05, ge=0)
    epochs: int = Field(default=20, ge=1)
    candidates: int = Field(default=32, ge=1)
    pooling: float = Field(default=0.5, ge=0, le=1)
    binary: bool = False


@dataclass(frozen=True, slots=True)
class BPRModel:
    """score(j) = x · q_j, where x = Σ_i w_i h_i / (Σ_i w_i)^pooling over the history.

    q (`item_vectors`) are items as candidates, h (`history_vectors`) as part of a past; float32,
    0 for items that nobody has touched, on which there is no opinion.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    item_vectors: NDArray[np.float32]
    history_vectors: NDArray[np.float32]
    touched: Mask
    pooling: float
    binary: bool
    index: DenseIndex | None = None
    """Index of the item vectors of a saved model; None scores every item."""

    @classmethod
    def of(
        cls,
        item_vectors: NDArray[np.float32],
        history_vectors: NDArray[np.float32],
        *,
        pooling: float,
        binary: bool,
    ) -> BPRModel:
        """The model of these vectors."""
        touched = np.any(item_vectors != 0, axis=1)
        return cls(item_vectors, history_vectors, touched, pooling, binary)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Pools the vectors of the histories."""
        pools = [self._pooled(query.history) for query in queries]
        vectors = np.zeros((len(queries), self.item_vectors.shape[1]), np.float32)
        for row, (items, weights) in enumerate(pools):
            vectors[row] = weights @ self.history_vectors[items]

        def contributions(row: int, item: int) -> Contributions:
            items, weights = pools[row]
            parts = weights * (self.history_vectors[items] @ self.item_vectors[item])
            return largest_first(shares(items, parts, kind="history"))

        return DenseScorer(
            query_vectors=vectors,
            has_opinion=np.any(vectors != 0, axis=1),
            item_vectors=self.item_vectors,
            biases=None,
            index=self.index,
            scored=self.touched,
            contributions=contributions,
        )

    def _pooled(self, history: History) -> tuple[Numbers, NDArray[np.float32]]:
        items, weights = history.totals()
        if self.binary:
            weights = np.ones_like(weights)
        total = max(float(weights.sum()), 1e-12)
        return items, weights * np.float32(total**-self.pooling)

    def arrays(self) -> Mapping[str, Array]:
        """The vectors and the settings of the pool."""
        return {
            "item_vectors": self.item_vectors,
            "history_vectors": self.history_vectors,
            "pooling": np.array(self.pooling),
            "binary": np.array(self.binary),
            **index_arrays(self.index, self.item_vectors),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> BPRModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        item_vectors = array_of(arrays, "item_vectors", dimensions=2)
        history_vectors = array_of(arrays, "history_vectors", dimensions=2)
        if item_vectors.shape != history_vectors.shape:
            raise BundleError(
                f"Arrays 'item_vectors' and 'history_vectors' are {item_vectors.shape} and "
                f"{history_vectors.shape}; rebuild the bundle."
            )
        model = cls.of(
            item_vectors,
            history_vectors,
            pooling=setting_of(arrays, "pooling"),
            binary=bool(setting_of(arrays, "binary")),
        )
        return replace(model, index=DenseIndex.from_arrays(arrays))


def fit_bpr(
    data: TrainingData,
    config: BPRConfig,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> BPRModel:
    """Vectors after `epochs` passes over all interactions; the same for the same seed.

    Each chosen item is left out of the pooled vector that predicts it.
    """
    matrix = binary_of(data.interactions) if config.binary else data.interactions
    n_items = matrix.shape[1]
    touched = np.bincount(matrix.indices, minlength=n_items) > 0
    scale = 0.1 / np.sqrt(config.embedding_size)
    shape = (n_items, config.embedding_size)
    items = rng.normal(0.0, scale, shape).astype(np.float32) * touched[:, None]
    pasts = rng.normal(0.0, scale, shape).astype(np.float32) * touched[:, None]
    item_steps = np.full(n_items, 1e-6, np.float32)
    past_steps = np.full(n_items, 1e-6, np.float32)
    known = np.flatnonzero(touched).astype(np.int32)
    users = np.flatnonzero(np.diff(matrix.indptr) > 0).astype(np.int32)
    candidates = min(config.candidates, 1 + len(known) // ITEMS_PER_CANDIDATE)
    for epoch in range(config.epochs):
        loss = pass_over(
            rng.permutation(users),
            matrix.indptr,
            matrix.indices,
            matrix.data,
            known,
            items,
            pasts,
            item_steps,
            past_steps,
            np.float32(config.learning_rate),
            np.float32(config.reg),
            np.float32(config.pooling),
            candidates,
            np.uint64(rng.integers(1, 2**63)),
        )
        if progress is not None:
            progress(epoch + 1, loss)
    return BPRModel.of(items, pasts, pooling=config.pooling, binary=config.binary)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def pass_over(
    users: Numbers,
    starts: NDArray[np.integer],
    columns: Numbers,
    values: NDArray[np.float32],
    known: Numbers,
    items: NDArray[np.float32],
    pasts: NDArray[np.float32],
    item_steps: NDArray[np.float32],
    past_steps: NDArray[np.float32],
    rate: np.float32,
    reg: np.float32,
    pooling: np.float32,
    candidates: int,
    state: np.uint64,
) -> float:
    """One pass, user by user; overwrites the vectors and their AdaGrad sums; the mean loss.

    For each chosen i with pool x (without i) and opponent j: d/dθ of −ln σ(x·q_i − x·q_j), plus
    `reg` · θ. The steps of h are summed over a user and made at the user's end.
    """
    width = items.shape[1]
    whole = np.empty(width, np.float32)
    x = np.empty(width, np.float32)
    pull = np.empty(width, np.float32)
    total_loss, pairs = 0.0, 0
    for user in users:
        begin, end = starts[user], starts[user + 1]
        n = end - begin
        if n < 2 or n >= len(known):
            continue
        whole[:] = 0.0
        pull[:] = 0.0
        pulls = np.zeros((n, width), np.float32)
        weight_sum = np.float32(0.0)
        for entry in range(begin, end):
            weight_sum += values[entry]
            for d in range(width):
                whole[d] += values[entry] * pasts[columns[entry], d]
        for entry in range(begin, end):
            chosen = columns[entry]
            rest = weight_sum - values[entry]
            if not rest > 0.0:
                continue
            scale = rest**-pooling
            chosen_score = np.float32(0.0)
            for d in range(width):
                x[d] = scale * (whole[d] - values[entry] * pasts[chosen, d])
                chosen_score += x[d] * items[chosen, d]
            opponent, highest = -1, np.float32(0.0)
            for _ in range(candidates):
                while True:
                    # SplitMix64 (Steele, Lea, Flood 2014).
                    state += np.uint64(0x9E3779B97F4A7C15)
                    z = state
                    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                    z = z ^ (z >> np.uint64(31))
                    drawn = known[np.int64(z >> np.uint64(1)) % len(known)]
                    at = begin + np.searchsorted(columns[begin:end], drawn)
                    if at == end or columns[at] != drawn:
                        break
                score = np.float32(0.0)
                for d in range(width):
                    score += x[d] * items[drawn, d]
                if opponent < 0 or score > highest:
                    opponent, highest = drawn, score
            difference = chosen_score - highest
            slope = np.float32(1.0) / (np.float32(1.0) + np.exp(difference))
            total_loss += np.log1p(np.exp(-np.abs(difference))) + max(-difference, np.float32(0.0))
            pairs += 1
            up, down = np.float32(0.0), np.float32(0.0)
            for d in range(width):
                pulls[entry - begin, d] = slope * scale * (items[chosen, d] - items[opponent, d])
                pull[d] += pulls[entry - begin, d]
                a = slope * x[d] - reg * items[chosen, d]
                b = -slope * x[d] - reg * items[opponent, d]
                up += a * a
                down += b * b
            item_steps[chosen] += up / width
            item_steps[opponent] += down / width
            step_up = rate / np.sqrt(item_steps[chosen])
            step_down = rate / np.sqrt(item_steps[opponent])
            for d in range(width):
                items[chosen, d] += step_up * (slope * x[d] - reg * items[chosen, d])
                items[opponent, d] += step_down * (-slope * x[d] - reg * items[opponent, d])
        for entry in range(begin, end):
            item = columns[entry]
            size = np.float32(0.0)
            for d in range(width):
                # The item was not part of the pool that predicted it.
                x[d] = values[entry] * (pull[d] - pulls[entry - begin, d]) - reg * pasts[item, d]
                size += x[d] * x[d]
            past_steps[item] += size / width
            step = rate / np.sqrt(past_steps[item])
            for d in range(width):
                pasts[item, d] += step * x[d]
    return total_loss / max(pairs, 1)


FAMILY: Final = ModelFamily(
    config=BPRConfig,
    fit=fit_bpr,
    model=BPRModel,
    level="individual",
    labels={"en": "fits your taste", "nl": "past bij je smaak"},
    needs=frozenset({"history"}),
    search_space={
        "embedding_size": Choice((32, 64, 128)),
        "candidates": Choice((32, 64, 128)),
        "learning_rate": Range(0.01, 0.2),
        "reg": Range(0.0005, 0.1),
        "epochs": Choice((10, 20, 40)),
        "pooling": Choice((0.0, 0.5, 1.0)),
    },
    random=True,
    paper=(
        "Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian personalized ranking from "
        "implicit feedback, UAI 2009"
    ),
    helps="Ranking among popular items, as one more opinion in a blend.",
)
