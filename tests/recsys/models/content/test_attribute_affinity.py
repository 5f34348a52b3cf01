"""Habits: brand, words and price of a person's choices against everybody's, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.content.attribute_affinity import (
    AttributeAffinityConfig,
    AttributeAffinityModel,
    fit_attribute_affinity,
)
from recsys.models.registry import config_of

RNG = np.random.default_rng(0)
Reader = Callable[..., TrainingData]
CATALOG = [
    Item(item_id="a1", title="Red mug", brand="A", price=10.0, category=["Mugs"]),
    Item(item_id="a2", title="Blue mug", brand="A", price=20.0, category=["Mugs"]),
    Item(item_id="b1", title="Red lamp", brand="B", price=40.0, category=["Mugs"]),
    Item(item_id="b2", title="Blue lamp", brand="B", price=10.0, category=["Mugs"]),
    Item(item_id="plain"),
]


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    purchases = [("a", 5.0, ["a1", "a2"]), ("b", 5.0, ["b1", "b2"]), ("cheap", 5.0, ["a1", "b2"])]
    return read(purchases, catalog=CATALOG)


def scores(model: AttributeAffinityModel, shop: TrainingData, person: str) -> dict[str, float]:
    everything = np.arange(len(shop.items), dtype=np.int32)
    (scored,) = model.condition(shop.queries([person], now=shop.as_of)).score([everything])
    return dict(zip(shop.items.ids(), scored.tolist(), strict=True))


def test_a_brand_counts_by_how_much_more_the_person_takes_of_it(shop: TrainingData) -> None:
    config = AttributeAffinityConfig(prior=2.0, brand=1.0, title_words=0.0, price=0.0)
    scored = scores(fit_attribute_affinity(shop, config, rng=RNG), shop, "u:a")
    share = (3 + 1) / (6 + 1)  # of brand A in all that was bought, and one choice more
    assert scored["a1"] == scored["a2"] == pytest.approx((2 + 2 * share) / (4 * share), rel=1e-5)
    assert scored["b1"] == pytest.approx(2 * share / (4 * share), rel=1e-5)
    assert scored["plain"] == 1.0


def test_words_say_what_kind_of_thing_a_person_likes(shop: TrainingData) -> None:
    config = AttributeAffinityConfig(brand=0.0, title_words=1.0, price=0.0, min_items=2)
    scored = scores(fit_attribute_affinity(shop, config, rng=RNG), shop, "u:b")
    assert scored["b1"] == scored["b2"] > scored["a1"]


def test_who_buys_cheap_is_shown_cheap(shop: TrainingData) -> None:
    config = AttributeAffinityConfig(brand=0.0, title_words=0.0, price=1.0)
    model = fit_attribute_affinity(shop, config, rng=RNG)
    cheap, dear = scores(model, shop, "u:cheap"), scores(model, shop, "u:b")
    assert cheap["b2"] == cheap["a1"] > cheap["a2"] > cheap["b1"]
    assert dear["b1"] > dear["a2"] > dear["b2"]


def test_a_catalogue_without_brands_and_prices_gives_no_preference(read: Reader) -> None:
    shop = read([("p", 5.0, ["x", "y"])])
    scored = scores(fit_attribute_affinity(shop, AttributeAffinityConfig(), rng=RNG), shop, "u:p")
    assert scored == {"x": 1.0, "y": 1.0}


def test_a_recipe_names_the_weight_of_title_words_as_before() -> None:
    assert AttributeAffinityConfig.model_validate({"words": 0.7}).title_words == 0.7
    assert config_of("habits", {"words": 0.7}) == config_of("habits", {"title_words": 0.7})
