"""The graph filter: against the singular value decomposition of NumPy, and what a shop expects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.models.factorisation.graph_filter import (
    GraphFilterConfig,
    GraphFilterModel,
    fit_graph_filter,
    leading_vectors,
)

RNG = np.random.default_rng(0)


def test_the_leading_vectors_are_those_of_the_full_decomposition() -> None:
    dense = np.random.default_rng(1).random((90, 70)) ** 6
    computed = leading_vectors(csr_array(dense.astype(np.float32)), 5, rounds=8, rng=RNG)
    _, _, expected = np.linalg.svd(dense)
    # Signs are free, so the projections are compared.
    np.testing.assert_allclose(computed @ computed.T, expected[:5].T @ expected[:5], atol=2e-3)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("popularity", [0.0, 0.5])
def test_the_scores_are_the_filter_of_the_paper(
    random_shop: TrainingData, binary: bool, popularity: float
) -> None:
    config = GraphFilterConfig(frequencies=6, popularity=popularity, binary=binary, rounds=12)
    model = fit_graph_filter(random_shop, config, rng=np.random.default_rng(2))
    matrix = random_shop.interactions.toarray().astype(np.float64)
    matrix = (matrix > 0).astype(np.float64) if binary else matrix
    of_items, of_users = matrix.sum(axis=0), matrix.sum(axis=1)
    some = of_items > 0
    normal = matrix[:, some] / np.sqrt(of_users)[:, None] / np.sqrt(of_items[some])
    basis = np.linalg.svd(normal)[2][:6]
    expected = matrix[:, some] / np.sqrt(of_items[some]) @ basis.T @ basis
    expected *= of_items[some] ** popularity
    queries = random_shop.queries(random_shop.users.ids(), now=random_shop.as_of)
    items = np.flatnonzero(some).astype(np.int32)
    computed = np.array(model.condition(queries).score([items] * len(queries)))
    np.testing.assert_allclose(computed, expected, rtol=5e-3, atol=5e-3)


def test_more_frequencies_than_items_are_those_that_there_are(checkerboard: TrainingData) -> None:
    model = fit_graph_filter(checkerboard, GraphFilterConfig(frequencies=256), rng=RNG)
    assert model.item_vectors.shape == (20, 20)


def test_a_taste_is_found(checkerboard: TrainingData) -> None:
    model = fit_graph_filter(checkerboard, GraphFilterConfig(frequencies=2), rng=RNG)
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    computed = model.condition(queries).retrieve(10, np.ones(20, np.bool_))
    for query, scored in zip(queries, computed, strict=True):
        assert set(scored.numbers % 2) == {int(query.history.items[0]) % 2}


def test_vectors_of_two_shapes_are_refused(checkerboard: TrainingData) -> None:
    model = fit_graph_filter(checkerboard, GraphFilterConfig(frequencies=4), rng=RNG)
    arrays = {**model.arrays(), "history_vectors": model.history_vectors[:, :2]}
    with pytest.raises(BundleError, match="history_vectors"):
        GraphFilterModel.from_arrays(arrays)
