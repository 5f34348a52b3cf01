"""BPR: the compiled pass against its formula, the loss, and what a shop expects."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.models.factorisation.bpr import BPRConfig, BPRModel, fit_bpr, pass_over


@pytest.fixture(scope="module")
def model(checkerboard: TrainingData) -> BPRModel:
    return fit_bpr(checkerboard, BPRConfig(embedding_size=4), rng=np.random.default_rng(0))


def test_a_pass_is_the_gradient_of_the_formula() -> None:
    """One user with items 0 and 1, so that the only opponent is item 2."""
    rng = np.random.default_rng(1)
    items, pasts = (rng.normal(size=(3, 5)).astype(np.float32) for _ in range(2))
    q, h = items.astype(np.float64), pasts.astype(np.float64)
    weights, rate, reg, pooling = np.array([2.0, 0.5], np.float32), 0.1, 0.03, 0.5
    item_steps, past_steps = np.full(3, 1e-6, np.float32), np.full(3, 1e-6, np.float32)
    loss = pass_over(
        np.array([0], np.int32),
        np.array([0, 2], np.int32),
        np.array([0, 1], np.int32),
        weights,
        np.arange(3, dtype=np.int32),
        items,
        pasts,
        item_steps,
        past_steps,
        np.float32(rate),
        np.float32(reg),
        np.float32(pooling),
        3,
        np.uint64(5),
    )
    sums_q, sums_h = np.full(3, 1e-6), np.full(3, 1e-6)
    slopes, losses = np.zeros((3, 5)), []
    for chosen, other in ((0, 1), (1, 0)):
        x = float(weights[other]) ** (1 - pooling) * h[other]
        difference = x @ (q[chosen] - q[2])
        slope = 1 / (1 + np.exp(difference))
        losses.append(np.log1p(np.exp(-difference)))
        pooled = float(weights[other]) ** (1 - pooling)
        slopes[other] += slope * pooled * (q[chosen] - q[2])
        for item, sign in ((chosen, 1.0), (2, -1.0)):
            gradient = sign * slope * x - reg * q[item]
            sums_q[item] += (gradient**2).mean()
            q[item] = q[item] + rate / np.sqrt(sums_q[item]) * gradient
    for item in (0, 1):
        gradient = slopes[item] - reg * h[item]
        sums_h[item] += (gradient**2).mean()
        h[item] += rate / np.sqrt(sums_h[item]) * gradient
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
    np.testing.assert_allclose(items, q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pasts, h, rtol=1e-4, atol=1e-5)


def test_the_loss_falls(checkerboard: TrainingData) -> None:
    losses_by_epoch: list[float] = []
    fit_bpr(
        checkerboard,
        BPRConfig(embedding_size=4),
        rng=np.random.default_rng(0),
        progress=lambda epoch, loss: losses_by_epoch.append(loss),
    )
    assert len(losses_by_epoch) == BPRConfig().epochs
    assert losses_by_epoch[-1] < 0.7 * losses_by_epoch[0]


def test_a_taste_is_found(checkerboard: TrainingData, model: BPRModel) -> None:
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    results = model.condition(queries).retrieve(10, np.ones(20, np.bool_))
    for query, scored in zip(queries, results, strict=True):
        assert set(scored.numbers % 2) == {int(query.history.items[0]) % 2}


def test_a_person_is_the_pool_of_the_history(
    random_shop: TrainingData,
) -> None:
    config = BPRConfig(embedding_size=4, pooling=0.7)
    model = fit_bpr(random_shop, config, rng=np.random.default_rng(0))
    query = random_shop.queries(["u:p01"], now=random_shop.as_of)[0]
    items, weights = query.history.totals()
    x = weights @ model.history_vectors[items] / weights.sum() ** 0.7
    everything = np.flatnonzero(model.touched).astype(np.int32)
    scores = model.condition([query]).score([everything])[0]
    np.testing.assert_allclose(scores, model.item_vectors[everything] @ x, rtol=1e-4, atol=1e-6)


def test_an_item_that_nobody_touched_gets_no_score(random_shop: TrainingData) -> None:
    model = fit_bpr(random_shop, BPRConfig(), rng=np.random.default_rng(0))
    query = random_shop.queries(["u:p01"], now=random_shop.as_of)
    untouched = random_shop.items.numbers(["i24"])
    assert np.isnan(model.condition(query).score([untouched])[0]).all()


def test_vectors_of_two_shapes_are_refused(model: BPRModel) -> None:
    arrays = {**model.arrays(), "history_vectors": model.history_vectors[:, :2]}
    with pytest.raises(BundleError, match="history_vectors"):
        BPRModel.from_arrays(arrays)
