"""Content-based similarity of catalogue descriptions; works for items without interactions.

Title words by tf-idf, every node of the category path, brand and price; Salton, Buckley:
Term-weighting approaches in automatic text retrieval, IPM 1988.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.ids import NONE, Array, Mask, Numbers, Scores, Vocabulary
from recsys.models.content.item_words import category_nodes, price_steps, title_words
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, ScoredItems, Scorer, short_repr
from recsys.models.scoring.neighbour_kernel import row_products, weighted_rows
from recsys.models.scoring.neighbours import work
from recsys.models.scoring.saved_arrays import (
    array_of,
    setting_of,
    sparse_arrays,
    sparse_of,
    text_array,
    text_of,
)
from recsys.models.scoring.sparse_scores import (
    Row,
    SparseScorer,
    largest_first,
    origins,
    shares,
    stacked,
    without,
)
from recsys.models.scoring.top_n import top_n_of
from recsys.models.search_space import Choice
from recsys.query.query import Query


class ContentConfig(BaseModel):
    """How much each part of an item's description weighs before the whole has length 1.

    Words in more than `max_share` of the items do not discriminate and are left out.
    `max_query_features` keeps the heaviest features of a long history, which bounds the work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: float = Field(default=1.0, ge=0)
    category: float = Field(default=0.7, ge=0)
    brand: float = Field(default=0.4, ge=0)
    price: float = Field(default=0.3, ge=0)
    max_share: float = Field(default=0.5, gt=0, le=1)
    max_query_features: int = Field(default=50, ge=1)


@dataclass(frozen=True, slots=True)
class ContentModel:
    """score(j) = v_j · q, q the weighted mean of the vectors of the seeds, else of the history.

    `vectors` is items × features, csr, rows of length 1 (empty where the catalogue says nothing:
    no opinion). From seeds, the score is the cosine, and the seeds themselves get none.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    features: Vocabulary
    rarity: NDArray[np.float32]  # inverse document frequency per feature
    parts: tuple[float, float, float, float]  # weights of title, category, brand, price
    vectors: csr_array
    postings: csr_array  # the transpose, by feature
    max_query_features: int

    @classmethod
    def of(
        cls,
        features: Vocabulary,
        rarity: NDArray[np.float32],
        *,
        parts: tuple[float, float, float, float],
        vectors: csr_array,
        max_query_features: int,
    ) -> ContentModel:
        """The model of these vectors; the postings are built here, once."""
        postings = csr_array(vectors.T.tocsr())
        return cls(features, rarity, parts, vectors, postings, max_query_features)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Computes each query's mean vector over words, categories, brands and prices."""
        starting = [origins(query, binary=False) for query in queries]
        dropped = [items if kind == "seed" else NONE for items, _, kind in starting]

        def contributions(row: int, item: int) -> Contributions:
            items, weights, kind = starting[row]
            target = self.vectors[[item]].toarray().ravel()
            return largest_first(shares(items, weights * (self.vectors[items] @ target), kind=kind))

        if len(queries) == 1:
            return _SingleScorer(self, *starting[0], contributions)
        wanted = self._wanted([(items, weights) for items, weights, _ in starting])
        return self._scorer(wanted, dropped, contributions)

    def wanted_by(self, items: Numbers, weights: NDArray[np.float32]) -> Row:
        """One query's row of `_wanted`, without building a matrix."""
        weights = weights / np.float32(max(float(weights.sum()), 1e-30))
        features, wanted = weighted_rows(self.vectors, items, weights)
        if len(features) > self.max_query_features:
            best = top_n_of(features, wanted, self.max_query_features)
            return best.numbers, best.scores
        return features, wanted

    def _wanted(self, origins_of: Sequence[tuple[Numbers, NDArray[np.float32]]]) -> csr_array:
        """Weighted mean vectors, queries × features, only the heaviest features kept."""
        means = [
            (items, weights / max(float(weights.sum()), 1e-30)) for items, weights in origins_of
        ]
        wanted = csr_array(stacked(means, n_columns=len(self.vectors.indptr) - 1) @ self.vectors)
        if not len(wanted.data) or np.diff(wanted.indptr).max() <= self.max_query_features:
            return wanted
        rows = []
        for row in range(wanted.shape[0]):
            span = slice(wanted.indptr[row], wanted.indptr[row + 1])
            best = top_n_of(wanted.indices[span], wanted.data[span], self.max_query_features)
            rows.append((best.numbers, best.scores))
        return stacked(rows, n_columns=wanted.shape[1])

    def _scorer(
        self,
        wanted: csr_array,
        dropped: Sequence[Numbers],
        contributions: Callable[[int, int], Contributions],
    ) -> SparseScorer:
        def rows_of(first: int, last: int) -> csr_array:
            chosen = wanted if last - first == wanted.shape[0] else wanted[first:last]
            return without(csr_array(chosen @ self.postings), dropped[first:last])

        return SparseScorer(
            n_items=self.vectors.shape[0],
            sizes=work(wanted, self.postings),
            rows_of=rows_of,
            contributions=contributions,
        )

    def arrays(self) -> Mapping[str, Array]:
        """Feature names, their rarity, the vectors and the settings."""
        return {
            "features": text_array(self.features.ids()),
            "rarity": self.rarity,
            "parts": np.array(self.parts),
            **sparse_arrays("vectors", self.vectors),
            "max_query_features": np.array(self.max_query_features),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> ContentModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        features = Vocabulary(text_of(arrays, "features"))
        rarity = array_of(arrays, "rarity", dimensions=1)
        parts = array_of(arrays, "parts", dimensions=1).tolist()
        vectors = sparse_of(arrays, "vectors")
        if not len(features) == len(rarity) == vectors.shape[1] or len(parts) != 4:
            raise BundleError(
                f"There are {len(features)} features, {len(rarity)} rarities, {len(parts)} part "
                f"weights and vectors of {vectors.shape[1]}; rebuild the bundle."
            )
        return cls.of(
            features,
            rarity,
            parts=(parts[0], parts[1], parts[2], parts[3]),
            vectors=vectors,
            max_query_features=int(setting_of(arrays, "max_query_features")),
        )


class _SingleScorer:
    """What `_scorer` gives for one query: few items are scored by their own vectors, and only
    `retrieve` walks through all that share a feature."""

    def __init__(
        self,
        model: ContentModel,
        items: Numbers,
        weights: NDArray[np.float32],
        kind: str,
        contributions: Callable[[int, int], Contributions],
    ) -> None:
        self._model = model
        self._dropped = items if kind == "seed" else NONE
        self._wanted = model.wanted_by(items, weights)
        self._contributions = contributions

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """The best n among the eligible items."""
        row = weighted_rows(self._model.postings, *self._wanted, without=self._dropped)
        return [top_n_of(*row, n, allow=eligible)]

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN where an item shares no feature."""
        features, weights = self._wanted
        wanted = np.zeros(len(self._model.features))
        wanted[features] = weights
        (asked,) = items
        scores = row_products(self._model.vectors, asked, wanted).astype(np.float32)
        scores[scores <= 0] = np.nan
        if len(self._dropped):
            scores[np.isin(asked, self._dropped)] = np.nan
        return [scores]

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item."""
        (score,) = self.score([np.array([item], np.int32)])
        return self._contributions(row, item) if np.isfinite(score[0]) else ()


def fit_content(
    data: TrainingData, config: ContentConfig, *, rng: np.random.Generator
) -> ContentModel:
    """Vectors of the whole catalogue; events play no part."""
    del rng
    return description_vectors(data.catalog.items, config)


def description_vectors(items: Sequence[Item], config: ContentConfig) -> ContentModel:
    """The model of a catalogue, as `fit_content` makes it of the training data's."""
    seen = Counter(name for item in items for name in {name for _, name, _ in _described(item)})
    most = max(config.max_share * len(items), 1.0)
    features = Vocabulary.of(name for name, count in seen.items() if count <= most)
    counts = np.array([seen[name] for name in features], np.float64)
    rarity = (np.log((1 + len(items)) / (1 + counts)) + 1).astype(np.float32)
    parts = (config.title, config.category, config.brand, config.price)
    return ContentModel.of(
        features,
        rarity,
        parts=parts,
        vectors=_vectors(items, features, rarity, parts),
        max_query_features=config.max_query_features,
    )


def _described(item: Item) -> Iterator[tuple[int, str, float]]:
    """Part (0 title, 1 category, 2 brand, 3 price), feature name and count."""
    for word, count in Counter(title_words(item)).items():
        yield 0, f"word {word}", float(count)
    for node in category_nodes(item):
        yield 1, f"category {node}", 1.0
    if item.brand:
        yield 2, f"brand {item.brand}", 1.0
    for step, nearness in price_steps(item):
        yield 3, f"price {step}", nearness


def _vectors(
    items: Sequence[Item],
    features: Vocabulary,
    rarity: NDArray[np.float32],
    parts: tuple[float, float, float, float],
) -> csr_array:
    """Rows of length 1: each part is tf · idf of length 1, times its weight."""
    entries = [
        (row, part, number, count)
        for row, item in enumerate(items)
        for part, name, count in _described(item)
        if (number := features.number(name)) is not None
    ]
    if not entries:
        return csr_array((len(items), len(features)), dtype=np.float32)
    rows, part, numbers, counts = (np.array(values) for values in zip(*entries, strict=True))
    values = counts * rarity[numbers]
    block = rows * len(parts) + part
    lengths = np.sqrt(np.bincount(block, weights=values**2))
    values = values / lengths[block] * np.array(parts)[part]
    whole = np.sqrt(np.bincount(rows, weights=values**2, minlength=len(items)))
    values = np.divide(values, whole[rows], out=np.zeros_like(values), where=whole[rows] > 0)
    vectors = csr_array(
        (values.astype(np.float32), (rows, numbers)), shape=(len(items), len(features))
    )
    vectors.eliminate_zeros()
    return vectors


FAMILY: Final = ModelFamily(
    config=ContentConfig,
    fit=fit_content,
    model=ContentModel,
    level="individual",
    labels={"en": "similar description", "nl": "vergelijkbare omschrijving"},
    needs=frozenset({"history", "seeds"}),
    search_space={
        "title": Choice((0.5, 1.0)),
        "category": Choice((0.0, 0.3, 0.7, 1.5)),
        "brand": Choice((0.0, 0.4, 1.0)),
        "price": Choice((0.0, 0.3, 0.8)),
    },
    scores_seeds=False,
    paper="Salton, Buckley: Term-weighting approaches in automatic text retrieval, IPM 1988",
    helps="Items that nobody has touched yet, and shops with few events.",
)
