"""EASE: the closed form, its pruning, and its refusal."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidConfig
from recsys.models.item_to_item.ease import EASEConfig, fit_ease

RNG = np.random.default_rng(0)


def closed_form(matrix: np.ndarray, reg: float) -> np.ndarray:
    """B_ij = −P_ij / P_jj with P = (RᵀR + λI)⁻¹; B_ii = 0."""
    inverse = np.linalg.inv(matrix.T @ matrix + reg * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


@pytest.mark.parametrize("binary", [True, False])
def test_the_weights_are_the_closed_form(random_shop: TrainingData, binary: bool) -> None:
    config = EASEConfig(reg=3.0, neighbours=None, binary=binary)
    computed = fit_ease(random_shop, config, rng=RNG).weights.toarray()
    matrix = random_shop.interactions.toarray().astype(np.float64)
    expected = closed_form((matrix > 0).astype(np.float64) if binary else matrix, 3.0)
    expected[:, matrix.sum(axis=0) == 0] = 0.0
    np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-5)


def test_blocks_of_rows_change_nothing(
    random_shop: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EASEConfig(reg=3.0, neighbours=5)
    whole = fit_ease(random_shop, config, rng=RNG).weights
    monkeypatch.setattr("recsys.models.item_to_item.ease.ROWS_AT_ONCE", 7)
    cut = fit_ease(random_shop, config, rng=RNG).weights
    np.testing.assert_array_equal(whole.indices, cut.indices)
    np.testing.assert_allclose(whole.data, cut.data, rtol=1e-5)


def test_the_largest_weights_of_each_item_are_kept_whatever_their_sign(
    random_shop: TrainingData,
) -> None:
    whole, pruned = (
        fit_ease(random_shop, EASEConfig(reg=0.5, neighbours=n), rng=RNG).weights.toarray()
        for n in (None, 4)
    )
    assert (pruned < 0).any()
    for full, kept in zip(whole, pruned, strict=True):
        expected = np.sort(np.abs(full))[::-1][:4]
        np.testing.assert_allclose(np.sort(np.abs(kept))[::-1][:4], expected, rtol=1e-6)
        assert np.count_nonzero(kept) <= 4


def test_too_many_items_are_refused_with_what_to_use_instead(random_shop: TrainingData) -> None:
    with pytest.raises(InvalidConfig, match=r"24 items .* random_walk"):
        fit_ease(random_shop, EASEConfig(max_items=23), rng=RNG)
    fit_ease(random_shop, EASEConfig(max_items=24), rng=RNG)


def test_a_taste_is_found(checkerboard: TrainingData) -> None:
    model = fit_ease(checkerboard, EASEConfig(reg=1.0), rng=RNG)
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    for query, computed in zip(
        queries, model.condition(queries).retrieve(5, np.ones(20, np.bool_)), strict=True
    ):
        assert set(computed.numbers % 2) == {int(query.history.items[0]) % 2}
