"""Factors learnt over features of items and people: LightFM with the WARP loss.

Kula: Metadata embeddings for user and item cold-start recommendations, CBRecSys 2015. There is no
identity feature per user: a user is represented by history and traits, so that new users and new
events need no retraining. The only file that imports lightfm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_matrix, csr_matrix, hstack
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.extras import optional_packages
from recsys.ids import Array, Numbers, Vocabulary
from recsys.models.factorisation.hybrid_features import (
    item_features,
    moments,
    pooled,
    trait_matrix,
    trait_vocabulary,
    traits_of,
)
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.dense_index import DenseIndex, index_arrays
from recsys.models.scoring.dense_scores import DenseScorer
from recsys.models.scoring.saved_arrays import (
    array_of,
    same_length,
    setting_of,
    text_array,
    text_of,
)
from recsys.models.scoring.sparse_scores import largest_first
from recsys.models.search_space import Choice, Range
from recsys.query.query import Query


class HybridConfig(BaseModel):
    """`parts` cuts every person's past into that many pieces, each predicted from those before.

    Time grows with epochs · positives · history items: above `max_positives` a random choice of
    them is learnt.
    More than one thread fits faster and no longer gives the same factors each time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_size: int = Field(default=32, ge=1, le=512)
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    reg: float = Field(default=1e-6, ge=0)
    parts: int = Field(default=3, ge=2, le=10)
    max_history_items: int = Field(default=30, ge=1)
    max_positives: int = Field(default=300_000, ge=1)
    min_trait_people: int = Field(default=5, ge=1)
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True, slots=True)
class HybridModel:
    """score(j) = x · q_j + b_j, where x = mean of h_i over the history + Σ t over the traits.

    q and b (`item_vectors`, `item_biases`) describe items as candidates, h (`history_vectors`) as
    part of a past, t (`trait_vectors`) what was declared; all float32. No opinion where neither
    history nor a known trait says anything.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    item_vectors: NDArray[np.float32]
    item_biases: NDArray[np.float32]
    history_vectors: NDArray[np.float32]
    trait_vectors: NDArray[np.float32]
    traits: Vocabulary
    max_history_items: int
    index: DenseIndex | None = None
    """Index of the item vectors of a saved model; None scores every item."""

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Pools the representations of the history and the traits."""
        known = [self._known(query) for query in queries]
        vectors = np.zeros((len(queries), self.item_vectors.shape[1]), np.float32)
        for row, (items, weights, traits) in enumerate(known):
            vectors[row] = weights @ self.history_vectors[items]
            vectors[row] += self.trait_vectors[traits].sum(axis=0)
        has_opinion = np.array([len(items) + len(traits) > 0 for items, _, traits in known], bool)

        def contributions(row: int, item: int) -> Contributions:
            items, weights, traits = known[row]
            target = self.item_vectors[item]
            by_item = weights * (self.history_vectors[items] @ target)
            by_trait = self.trait_vectors[traits] @ target
            bias = float(self.item_biases[item])
            total = float(np.abs(by_item).sum() + np.abs(by_trait).sum()) + abs(bias)
            whole = max(total, 1e-30)
            return largest_first(
                [
                    Contribution("everybody", bias / whole),
                    *(
                        Contribution("history", part / whole, item=number)
                        for number, part in zip(items.tolist(), by_item.tolist(), strict=True)
                    ),
                    *(
                        Contribution("trait", part / whole, trait=name)
                        for name, part in zip(
                            self.traits.ids(traits), by_trait.tolist(), strict=True
                        )
                    ),
                ]
            )

        return DenseScorer(
            query_vectors=vectors,
            has_opinion=has_opinion,
            item_vectors=self.item_vectors,
            biases=self.item_biases,
            index=self.index,
            scored=np.ones(len(self.item_biases), np.bool_),
            contributions=contributions,
        )

    def _known(self, query: Query) -> tuple[Numbers, NDArray[np.float32], Numbers]:
        items, weights = query.history.totals()
        items, weights = pooled(items, weights, max_items=self.max_history_items)
        return items, weights, self.traits.known(traits_of(query.profile, query.country))

    def arrays(self) -> Mapping[str, Array]:
        """The representations, the names of the traits and the one setting."""
        return {
            "item_vectors": self.item_vectors,
            "item_biases": self.item_biases,
            "history_vectors": self.history_vectors,
            "trait_vectors": self.trait_vectors,
            "traits": text_array(self.traits.ids()),
            "max_history_items": np.array(self.max_history_items),
            **index_arrays(self.index, self.item_vectors, self.item_biases),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> HybridModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        item_vectors = array_of(arrays, "item_vectors", dimensions=2)
        item_biases = array_of(arrays, "item_biases", dimensions=1)
        history_vectors = array_of(arrays, "history_vectors", dimensions=2)
        trait_vectors = array_of(arrays, "trait_vectors", dimensions=2)
        same_length(arrays, ["item_vectors", "item_biases", "history_vectors"])
        traits = Vocabulary(text_of(arrays, "traits"))
        sizes = {len(matrix.T) for matrix in (item_vectors, history_vectors, trait_vectors)}
        if len(sizes) != 1 or len(traits) != len(trait_vectors):
            raise BundleError(
                f"Embeddings have the sizes {sorted(sizes)}, and there are {len(traits)} traits "
                f"with {len(trait_vectors)} vectors; rebuild the bundle."
            )
        return cls(
            item_vectors,
            item_biases,
            history_vectors,
            trait_vectors,
            traits,
            int(setting_of(arrays, "max_history_items")),
            DenseIndex.from_arrays(arrays),
        )


def fit_hybrid(
    data: TrainingData, config: HybridConfig, *, rng: np.random.Generator
) -> HybridModel:
    """The representations that LightFM learns; the same for the same seed and one thread."""
    # Imported here, so that a service which only answers does not load the solver.
    with optional_packages("fit_hybrid"):
        from lightfm import LightFM

    as_candidate, as_history = item_features(data)
    traits = trait_vocabulary(data.profiles, min_people=config.min_trait_people)
    past = moments(
        data,
        parts=config.parts,
        max_items=config.max_history_items,
        max_positives=config.max_positives,
        rng=rng,
    )
    people = trait_matrix(data.profiles, traits)[past.users]
    user_features = hstack([past.histories @ as_history, people], format="csr")
    solver = LightFM(
        no_components=config.embedding_size,
        loss="warp",
        learning_rate=config.learning_rate,
        item_alpha=config.reg,
        user_alpha=config.reg,
        random_state=int(rng.integers(2**31)),
    )
    positives = past.positives.tocoo()
    rows, columns = (axis.astype(np.int32) for axis in positives.coords)
    weights = positives.data / max(float(positives.data.mean()), 1e-30)
    with threadpool_limits(1, "blas"):
        solver.fit(
            _as_matrix(rows, columns, np.ones(len(rows)), positives.shape),
            sample_weight=_as_matrix(rows, columns, weights, positives.shape),
            user_features=narrow(user_features),
            item_features=narrow(as_candidate),
            epochs=config.epochs,
            num_threads=config.threads,
        )
    n_history = as_history.shape[1]
    return HybridModel(
        item_vectors=np.asarray(as_candidate @ solver.item_embeddings, np.float32),
        item_biases=np.asarray(as_candidate @ solver.item_biases, np.float32),
        history_vectors=np.asarray(as_history @ solver.user_embeddings[:n_history], np.float32),
        trait_vectors=np.array(solver.user_embeddings[n_history:], np.float32),
        traits=traits,
        max_history_items=config.max_history_items,
    )


def _as_matrix(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.floating],
    shape: tuple[int, int],
) -> coo_matrix:
    return coo_matrix((values.astype(np.float32), (rows, columns)), shape=shape)


def narrow(matrix: csr_matrix) -> csr_matrix:
    """float32 with int32 indices, which is all that LightFM reads."""
    narrow = csr_matrix(matrix, dtype=np.float32)
    narrow.indices = narrow.indices.astype(np.int32)
    narrow.indptr = narrow.indptr.astype(np.int32)
    return narrow


FAMILY: Final = ModelFamily(
    config=HybridConfig,
    fit=fit_hybrid,
    model=HybridModel,
    level="individual",
    labels={
        "en": "fits your taste and what we know about the item",
        "nl": "past bij je smaak en bij wat we van het artikel weten",
    },
    needs=frozenset({"history", "country", "traits"}),
    search_space={
        "embedding_size": Choice((16, 32, 64)),
        "epochs": Choice((5, 10, 15)),
        "learning_rate": Range(0.02, 0.1),
        "max_history_items": Choice((10, 30)),
    },
    random=True,
    paper="Kula: Metadata embeddings for user and item cold-start recommendations, CBRecSys 2015",
    helps="New customers with known traits, and items with a good description but few events.",
)
