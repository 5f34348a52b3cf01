"""The nearest by description: exact, and bounded where a feature is everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.models.content.description_neighbours import description_neighbours


def made_vectors(n_items: int, n_features: int, seed: int) -> csr_array:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_items, n_features)) * (rng.random((n_items, n_features)) < 0.15)
    dense[:, 0] = 0.3
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    return csr_array((dense / lengths).astype(np.float32))


def slow_nearest(
    vectors: csr_array, wanted: np.ndarray, allowed: np.ndarray, n: int, least: float
) -> dict[int, list[int]]:
    """All cosines, sorted."""
    cosines = (vectors @ vectors.T).toarray()
    neighbours_of = {}
    for item in np.flatnonzero(wanted).tolist():
        others = [
            (-float(cosines[item, other]), other)
            for other in np.flatnonzero(allowed).tolist()
            if other != item and cosines[item, other] >= max(least, 1e-9)
        ]
        neighbours_of[item] = sorted(other for _, other in sorted(others)[:n])
    return neighbours_of


@pytest.mark.parametrize("least", [0.0, 0.4])
def test_the_nearest_are_those_of_all_cosines_sorted(least: float) -> None:
    vectors = made_vectors(120, 40, seed=3)
    rng = np.random.default_rng(4)
    wanted, allowed = rng.random(120) < 0.5, rng.random(120) < 0.7
    near = description_neighbours(vectors, wanted=wanted, allowed=allowed, n=6, least=least)
    for item, expected in slow_nearest(vectors, wanted, allowed, 6, least).items():
        span = slice(near.indptr[item], near.indptr[item + 1])
        assert near.indices[span].tolist() == expected
        dots = [float(np.dot(*vectors[[item, other]].toarray())) for other in expected]
        np.testing.assert_allclose(near.data[span], dots, rtol=1e-5)


def test_only_wanted_items_have_neighbours_and_only_allowed_items_are_any() -> None:
    vectors = made_vectors(60, 20, seed=5)
    wanted, allowed = np.arange(60) % 2 == 0, np.arange(60) % 3 == 0
    near = description_neighbours(vectors, wanted=wanted, allowed=allowed, n=5)
    assert not np.diff(near.indptr)[~wanted].any()
    assert allowed[near.indices].all()


def test_a_widespread_feature_is_passed_over_where_the_rare_ones_suffice() -> None:
    # Everybody shares feature 0; items 0 and 1 alone share feature 1.
    dense = np.zeros((50, 2), np.float32)
    dense[:, 0] = 1.0
    dense[:2] = np.sqrt(0.5)
    vectors = csr_array(dense)
    everybody = np.ones(50, np.bool_)
    whole = description_neighbours(vectors, wanted=everybody, allowed=everybody, n=3)
    bounded = description_neighbours(
        vectors, wanted=everybody, allowed=everybody, n=3, most_postings=10
    )
    assert whole.indptr[1] == 3
    assert bounded[[0]].indices.tolist() == [1]
    assert bounded[[0]].data[0] == pytest.approx(1.0)
    # The first feature of an item is looked at however widespread it is.
    assert np.diff(bounded.indptr)[2:].tolist() == [3] * 48
