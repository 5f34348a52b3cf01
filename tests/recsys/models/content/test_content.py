"""Content similarity: cosine of descriptions, and items that did not exist when it was fitted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.content.content import ContentConfig, ContentModel, fit_content
from recsys.models.content.item_words import price_steps
from recsys.query.query import Query

RNG = np.random.default_rng(0)
Reader = Callable[..., TrainingData]

CATALOG = [
    Item(item_id="a", title="Red enamel mug", category=["Home", "Cups"], brand="Acme", price=8.0),
    Item(item_id="b", title="Blue enamel mug", category=["Home", "Cups"], brand="Acme", price=8.5),
    Item(item_id="c", title="Red wool rug", category=["Home", "Rugs"], brand="Weft", price=90.0),
    Item(item_id="d", title="Garden spade", category=["Garden"], brand="Dig", price=25.0),
    Item(item_id="e"),
]


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    return read([("p", 5.0, ["a"]), ("p", 6.0, ["c"])], catalog=CATALOG)


@pytest.fixture(scope="module")
def model(shop: TrainingData) -> ContentModel:
    return fit_content(shop, ContentConfig(max_share=1.0), rng=RNG)


def test_from_a_page_the_score_is_the_cosine(model: ContentModel, shop: TrainingData) -> None:
    vectors = model.vectors.toarray()
    np.testing.assert_allclose(np.linalg.norm(vectors[:4], axis=1), 1.0, rtol=1e-5)
    page = Query(now=shop.as_of, seeds=shop.items.numbers(["a"]))
    scores = model.condition([page]).score([np.arange(5, dtype=np.int32)])[0]
    np.testing.assert_allclose(scores[1:3], (vectors @ vectors[0])[1:3], rtol=1e-5)
    assert scores[1] > scores[2]
    assert np.isnan(scores[[0, 4]]).all()


def test_from_a_history_the_score_is_the_weighted_mean(
    model: ContentModel, shop: TrainingData
) -> None:
    query = shop.queries(["u:p"], now=shop.as_of)[0]
    items, weights = query.history.totals()
    vectors = model.vectors.toarray()
    expected = vectors @ (weights @ vectors[items] / weights.sum())
    scores = model.condition([query]).score([np.arange(5, dtype=np.int32)])[0]
    np.testing.assert_allclose(np.nan_to_num(scores), expected, rtol=1e-4, atol=1e-7)


def test_words_that_most_items_have_are_left_out(read: Reader) -> None:
    catalog = [Item(item_id=f"i{n}", title=f"set of word{n}{n}") for n in range(5)]
    shop = read([("p", 5.0, ["i0"])], catalog=catalog)
    names = list(fit_content(shop, ContentConfig(), rng=RNG).features)
    assert names == [f"word word{n}{n}" for n in range(5)]


def test_a_long_history_is_described_by_its_heaviest_features(shop: TrainingData) -> None:
    model = fit_content(shop, ContentConfig(max_query_features=1, max_share=1.0), rng=RNG)
    query = shop.queries(["u:p"], now=shop.as_of)[0]
    scores = model.condition([query]).score([np.arange(5, dtype=np.int32)])[0]
    column = np.argmax((model.vectors[[0]] + model.vectors[[2]]).toarray())
    has_it = model.vectors.toarray()[:, column] > 0
    np.testing.assert_array_equal(np.isfinite(scores), has_it)


def test_prices_that_are_close_share_a_step() -> None:
    def steps(price: float) -> dict[int, float]:
        return dict(price_steps(Item(item_id="x", price=price)))

    def alike(left: float, right: float) -> float:
        first, second = steps(left), steps(right)
        return sum(first[step] * second.get(step, 0.0) for step in first)

    assert steps(8.0) == {6: 1.0}
    assert sum(steps(9.5).values()) == pytest.approx(1.0)
    assert alike(9.5, 9.9) > alike(9.5, 11.0) > alike(9.5, 30.0) == 0.0
    assert list(price_steps(Item(item_id="x"))) == []
    assert list(price_steps(Item(item_id="x", price=0.0)))
