"""Time to refill: what is due rises, what was just bought or is never bought again falls."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.ids import NONE
from recsys.models.repurchase.refill import RefillConfig, RefillModel, fit_refill
from recsys.query.query import Query

Reader = Callable[..., TrainingData]
RNG = np.random.default_rng(0)
CATALOG = [
    Item(item_id="coffee", category=["Food"]),
    Item(item_id="tea", category=["Food"]),
    Item(item_id="printer", category=["Office"]),
    Item(item_id="soap", category=["Bath"]),
]


@pytest.fixture(scope="module")
def kitchen(read: Reader) -> TrainingData:
    """Coffee about every 14 days, soap about every 60, a printer once; tea is new, bought twice."""
    rng = np.random.default_rng(4)
    purchases = []
    for person in range(40):
        for item, every, first in (("coffee", 14.0, 180.0), ("soap", 60.0, 200.0)):
            day = first - float(rng.uniform(0, every))
            while day > 0.5:
                purchases.append((f"p{person:02}", day, [item]))
                day -= every * float(np.exp(rng.normal(0, 0.2)))
        purchases.append((f"p{person:02}", float(rng.uniform(30, 200)), ["printer"]))
    purchases += [("p00", 40.0, ["tea"]), ("p00", 24.0, ["tea"])]
    return read(purchases, catalog=CATALOG)


def fitted(data: TrainingData, **settings: float) -> RefillModel:
    return fit_refill(data, RefillConfig.model_validate(settings), rng=RNG)


def asking(read: Reader, model_data: TrainingData, days_ago: dict[str, list[float]]) -> Query:
    """Somebody who bought these items so many days ago."""
    data = read(
        [("you", day, [item]) for item, days in days_ago.items() for day in days], catalog=CATALOG
    )
    assert list(data.items) == list(model_data.items)
    return data.queries(["u:you"], now=data.as_of)[0]


def scores_of(model: RefillModel, query: Query, data: TrainingData) -> dict[str, float]:
    scores = model.condition([query]).score([np.arange(len(data.items), dtype=np.int32)])[0]
    return dict(zip(data.items, scores.tolist(), strict=True))


def test_the_score_is_the_chance_of_a_purchase_within_the_horizon(
    kitchen: TrainingData, read: Reader
) -> None:
    model = fitted(kitchen, horizon_days=10)
    item = kitchen.items.number("soap")
    assert item is not None
    query = asking(read, kitchen, {"soap": [50.0, 105.0]})

    def normal(days: float, mean: float) -> float:
        return 0.5 * (1 + math.erf((math.log(days) - mean) / model.spread / math.sqrt(2)))

    mean = (math.log(55) + 2 * float(model.means[item])) / 3
    chance = float(model.chances[item, 1])
    expected = chance * (normal(60, mean) - normal(50, mean)) / (1 - chance * normal(50, mean))
    assert scores_of(model, query, kitchen)["soap"] == pytest.approx(expected, rel=1e-4)


def test_intervals_and_chances_are_found_again(kitchen: TrainingData) -> None:
    model = fitted(kitchen, item_prior=1, chance_prior=1)
    coffee, printer, soap = kitchen.items.numbers(["coffee", "printer", "soap"])
    assert math.exp(model.means[coffee]) == pytest.approx(14, rel=0.15)
    assert math.exp(model.means[soap]) == pytest.approx(60, rel=0.15)
    assert model.chances[coffee, 0] > 0.85
    assert model.chances[printer, 0] < 0.1


def test_what_was_just_bought_is_not_due_and_what_is_overdue_is(
    kitchen: TrainingData, read: Reader
) -> None:
    model = fitted(kitchen, horizon_days=5)
    fresh, due = (
        scores_of(model, asking(read, kitchen, {"coffee": [ago, ago + 14, ago + 28]}), kitchen)
        for ago in (1.0, 14.0)
    )
    assert fresh["coffee"] < 0.1 < 0.3 < due["coffee"]


def test_a_person_has_a_rhythm_of_their_own(kitchen: TrainingData, read: Reader) -> None:
    model = fitted(kitchen, horizon_days=5)
    quick, slow = (
        scores_of(
            model,
            asking(read, kitchen, {"coffee": [7.0 + every * n for n in range(6)]}),
            kitchen,
        )["coffee"]
        for every in (7.0, 40.0)
    )
    assert slow < quick / 3


def test_things_bought_once_in_a_lifetime_rank_behind_consumables(
    kitchen: TrainingData, read: Reader
) -> None:
    model = fitted(kitchen)
    query = asking(read, kitchen, {"printer": [60.0], "soap": [60.0]})
    scores = scores_of(model, query, kitchen)
    assert scores["printer"] < scores["soap"] / 5


def test_a_rare_item_borrows_from_its_category(kitchen: TrainingData) -> None:
    means = fitted(kitchen, item_prior=20, category_prior=1).means
    tea, coffee, soap = kitchen.items.numbers(["tea", "coffee", "soap"])
    assert abs(means[tea] - means[coffee]) < 0.1 < abs(means[tea] - means[soap])


def test_nothing_for_what_was_never_bought(kitchen: TrainingData, read: Reader) -> None:
    scores = scores_of(fitted(kitchen), asking(read, kitchen, {"coffee": [20.0]}), kitchen)
    assert [item for item, score in scores.items() if not math.isnan(score)] == ["coffee"]


def test_two_purchases_on_one_day_are_one(kitchen: TrainingData, read: Reader) -> None:
    model = fitted(kitchen)
    once = asking(read, kitchen, {"coffee": [10.3, 30.0]})
    twice = asking(read, kitchen, {"coffee": [10.3, 10.4, 30.0]})
    assert scores_of(model, once, kitchen)["coffee"] == scores_of(model, twice, kitchen)["coffee"]


def test_a_shop_without_purchases_gives_a_model_without_opinion(read: Reader) -> None:
    data = read([("p", 3.0, ["coffee"])], kind="view_item", catalog=CATALOG)
    model = fitted(data)
    results = model.condition(data.queries(["u:p"], now=data.as_of)).retrieve(
        3, np.ones(4, np.bool_)
    )
    assert results[0].numbers.tolist() == NONE.tolist()
