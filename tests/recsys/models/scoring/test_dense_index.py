"""The index over item vectors: what a product over all of them gives, for a part of the work."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.kernels import NO_MASK, best_of_all
from recsys.models.factorisation.als import ALSModel
from recsys.models.scoring.dense_index import INDEXED_FROM, DenseIndex, index_arrays
from recsys.query.history import History
from recsys.query.query import Query
from tests.benchmarks.made_shop import made_factors

N = INDEXED_FROM + 1_000


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Items in clusters, a tenth of them popular, a tenth never touched, some alike."""
    rng = np.random.default_rng(1)
    vectors = made_factors(N, 24, rng)
    vectors[: N // 10] *= 4.0
    vectors[-N // 10 :] = 0.0
    vectors[100:110] = vectors[100]
    return vectors


@pytest.fixture(scope="module")
def index(vectors: np.ndarray) -> DenseIndex:
    return DenseIndex.of(vectors)


def queries(vectors: np.ndarray, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [vectors[rng.integers(0, N, 4)].mean(axis=0) for _ in range(count)]


@pytest.mark.parametrize("n", [1, 50, 400])
def test_the_best_are_those_of_a_product_over_all_items(
    vectors: np.ndarray, index: DenseIndex, n: int
) -> None:
    everything = np.ones(N, np.bool_)
    for query in queries(vectors, 20):
        expected = np.sort(vectors @ query)[::-1][:n]
        numbers, scores = index.best(query, vectors, None, everything, everything, n)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(vectors[numbers] @ query, scores, rtol=1e-4, atol=1e-6)
        assert len(set(numbers.tolist())) == n


def test_biases_count_as_in_the_product(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    biases = rng.normal(0, 0.5, N).astype(np.float32)
    index = DenseIndex.of(vectors, biases)
    everything = np.ones(N, np.bool_)
    for query in queries(vectors, 10):
        _, scores = index.best(query, vectors, biases, everything, everything, 30)
        expected = np.sort(vectors @ query + biases)[::-1][:30]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_only_eligible_and_scored_items_are_found(vectors: np.ndarray, index: DenseIndex) -> None:
    rng = np.random.default_rng(4)
    eligible, scored = rng.random(N) < 0.01, rng.random(N) < 0.5
    (query,) = queries(vectors, 1)
    numbers, _ = index.best(query, vectors, None, eligible, scored, 1_000, most=1)
    assert sorted(numbers.tolist()) == np.flatnonzero(eligible & scored).tolist()


def test_a_bounded_search_finds_nearly_all(vectors: np.ndarray, index: DenseIndex) -> None:
    everything = np.ones(N, np.bool_)
    recalled = 0
    for query in queries(vectors, 20):
        expected, _ = best_of_all(vectors @ query, NO_MASK, NO_MASK, 50)
        bounded, _ = index.best(query, vectors, None, everything, everything, 50, most=N // 10)
        recalled += len(np.intersect1d(expected, bounded))
    assert recalled / (20 * 50) > 0.9


def test_the_same_vectors_give_the_same_index(vectors: np.ndarray, index: DenseIndex) -> None:
    again = DenseIndex.of(vectors)
    assert all(
        np.array_equal(again.arrays()[name], array) for name, array in index.arrays().items()
    )


def test_a_saved_model_answers_from_its_index_as_a_fitted_one_without(vectors: np.ndarray) -> None:
    fitted = ALSModel.of(vectors, alpha=1.0, reg=0.1)
    saved = ALSModel.from_arrays(fitted.arrays())
    assert fitted.index is None
    assert saved.index is not None
    history = History(
        np.array([3, 40, 900], np.int32), np.zeros(3, np.int8), np.zeros(3), np.ones(3, np.float32)
    )
    query = Query(now=datetime(2026, 1, 1, tzinfo=UTC), history=history)
    everything = np.ones(N, np.bool_)
    (plain,) = fitted.condition([query]).retrieve(40, everything)
    (indexed,) = saved.condition([query]).retrieve(40, everything)
    np.testing.assert_allclose(indexed.scores, plain.scores, rtol=1e-4)


def test_few_items_need_no_index(vectors: np.ndarray) -> None:
    assert index_arrays(None, vectors[: INDEXED_FROM - 1]) == {}
