"""Newcomers: a new item finds the people of the items that are described like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.content.cold_items import ColdItemsConfig, fit_cold_items
from recsys.models.item_to_item.random_walk import fit_random_walk

RNG = np.random.default_rng(0)
Reader = Callable[..., TrainingData]


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    """Tea people and tool people; a new teapot and a new hammer that nobody has touched."""
    titles = {
        "t1": "Glass teapot",
        "t2": "Tea tin",
        "h1": "Steel hammer",
        "h2": "Saw",
        "new-t": "Teapot red glass",
        "new-h": "Heavy steel hammer",
    }
    catalog = [Item(item_id=id, title=title) for id, title in titles.items()]
    purchases = [(f"t{n}", 5.0, ["t1", "t2"]) for n in range(4)]
    purchases += [(f"h{n}", 5.0, ["h1", "h2"]) for n in range(4)]
    purchases += [("x", 5.0, ["t2"]), ("y", 5.0, ["h2"])]
    return read(purchases, catalog=catalog)


@pytest.mark.parametrize(("person", "newcomer"), [("u:x", "new-t"), ("u:y", "new-h")])
def test_a_new_item_reaches_who_would_be_shown_its_likes(
    shop: TrainingData, person: str, newcomer: str
) -> None:
    model = fit_cold_items(shop, ColdItemsConfig(), rng=RNG)
    query = shop.queries([person], now=shop.as_of)
    results = model.condition(query).retrieve(5, np.ones(len(shop.items), np.bool_))[0]
    assert shop.items.ids(results.numbers) == [newcomer]


def test_a_score_is_the_walk_carried_on_by_the_description(shop: TrainingData) -> None:
    config = ColdItemsConfig(nearest=1, sharpness=1.0, itself=0.5)
    weights = fit_cold_items(shop, config, rng=RNG).weights.toarray()
    walk = fit_random_walk(shop, config.walk, rng=RNG).weights.toarray()
    t1, t2, new = shop.items.numbers(["t1", "t2", "new-t"]).tolist()
    assert weights[t1, new] / weights[t2, new] == pytest.approx(0.5 / walk[t2, t1])
    assert not weights[:, [t1, t2]].any()


def test_an_item_that_enough_people_know_is_left_to_other_models(shop: TrainingData) -> None:
    everything = fit_cold_items(shop, ColdItemsConfig(max_users=100), rng=RNG)
    assert not everything.weights.nnz
