"""Popularity and repeat counts against tables worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.popularity.category_popularity import (
    CategoryPopularityConfig,
    fit_popularity_by_category,
)
from recsys.models.popularity.country_popularity import (
    CountryPopularityConfig,
    fit_popularity_by_country,
)
from recsys.models.popularity.popularity import (
    PopularityConfig,
    TrendingConfig,
    fit_popularity,
    fit_trending,
)
from recsys.models.protocol import Model
from recsys.models.repurchase.rebuy import RebuyConfig, fit_rebuy
from recsys.models.repurchase.recently_viewed import RecentConfig, fit_recent
from recsys.models.repurchase.repeat import RepeatConfig, fit_repeat
from recsys.query.query import Context, Query

RNG = np.random.default_rng(0)
Reader = Callable[..., TrainingData]


def scores(model: Model, query: Query, n_items: int) -> list[float]:
    results = model.condition([query]).score([np.arange(n_items, dtype=np.int32)])[0]
    return [float(score) for score in results]


def test_a_purchase_of_one_half_life_ago_counts_half(read: Reader) -> None:
    shop = read(
        [("p1", 0.0001, ["a"]), ("p2", 10, ["a", "b"]), ("p3", 20, ["b"])],
        catalog=[Item(item_id="c")],
    )
    model = fit_popularity(shop, PopularityConfig(half_life_days=10), rng=RNG)
    a, b, c = scores(model, Query(now=shop.as_of), 3)
    # Counted by day: the purchase just before midnight belongs to the day that began 1 day ago.
    assert a == pytest.approx(2**-0.1 + 0.5)
    assert b == pytest.approx(0.5 + 0.25)
    assert np.isnan(c)


def test_without_a_half_life_all_count_alike_within_the_window(read: Reader) -> None:
    shop = read([("p1", 5, ["a"]), ("p2", 29, ["a", "b"]), ("p3", 40, ["b"]), ("p4", 50, ["b"])])
    whole = fit_popularity(shop, PopularityConfig(half_life_days=None), rng=RNG)
    window = fit_popularity(shop, PopularityConfig(half_life_days=None, window_days=30), rng=RNG)
    assert scores(whole, Query(now=shop.as_of), 2) == [2.0, 3.0]
    assert scores(window, Query(now=shop.as_of), 2) == [2.0, 1.0]


def test_people_who_are_not_personalised_still_teach_what_is_popular(read: Reader) -> None:
    shop = read([(None, 5, ["a"]), (None, 6, ["a"]), ("p1", 5, ["b"])])
    model = fit_popularity(shop, PopularityConfig(half_life_days=None), rng=RNG)
    assert scores(model, Query(now=shop.as_of), 2) == [2.0, 1.0]


def test_a_country_has_its_own_favourites_over_those_of_everybody(read: Reader) -> None:
    shop = read(
        [("n1", 5, ["a"]), ("n2", 5, ["a"]), ("d1", 5, ["b"]), ("d2", 5, ["b"]), ("d3", 5, ["c"])],
        countries={"n1": "NL", "n2": "NL", "d1": "DE", "d2": "DE", "d3": "DE"},
        catalog=[Item(item_id="z")],
    )
    config = CountryPopularityConfig(half_life_days=None, prior=1.0)
    model = fit_popularity_by_country(shop, config, rng=RNG)
    in_germany = Query(now=shop.as_of, context=Context(country="DE"))
    assert scores(model, in_germany, 3) == pytest.approx([0.4, 2.4, 1.2])
    assert np.isnan(scores(model, in_germany, 4)[3])
    nowhere = Query(now=shop.as_of, context=Context(country="JP"))
    assert np.isnan(scores(model, nowhere, 3)).all()


def test_a_category_counts_by_its_share_of_what_the_person_touched(read: Reader) -> None:
    catalog = [
        Item(item_id=id, category=[name])
        for id, name in (("a", "Cups"), ("b", "Cups"), ("c", "Rugs"), ("d", "Lamps"))
    ]
    shop = read(
        [("p", 5, ["a"]), ("p", 6, ["a"]), ("p", 7, ["c"]), ("q", 5, ["b", "c", "d"])],
        catalog=catalog,
    )
    model = fit_popularity_by_category(shop, CategoryPopularityConfig(half_life_days=None), rng=RNG)
    query = shop.queries(["u:p"], now=shop.as_of)[0]
    a, b, c, d = scores(model, query, 4)
    assert [a, b, c] == pytest.approx([2 / 3 * 2, 2 / 3 * 1, 1 / 3 * 2], rel=1e-4)
    assert np.isnan(d)
    page = replace(query, seeds=shop.items.numbers(["d"]))
    assert scores(model, page, 4)[3] == pytest.approx(1.0)


def test_trending_is_what_rises_and_not_what_sells_most(read: Reader) -> None:
    steady = [(f"s{n}", float(1 + 4 * n), ["steady"]) for n in range(40)]
    rising = [(f"r{n}", float(1 + n), ["rising"]) for n in range(10)]
    fluke = [("f", 1.0, ["fluke"])]
    shop = read(steady + rising + fluke)
    query = Query(now=shop.as_of)
    model = fit_trending(shop, TrendingConfig(half_life_days=7, prior=5), rng=RNG)
    results = dict(zip(shop.items, scores(model, query, 3), strict=True))
    assert results["rising"] > results["fluke"] > results["steady"]


def test_a_repeat_counts_purchases_and_not_lines(read: Reader) -> None:
    """`a` stands on two lines of one invoice, `b` on two invoices, `c` was only looked at."""
    shop = read([("p", 30, ["a", "a", "b"]), ("p", 60, ["b"])], catalog=[Item(item_id="c")])
    query = shop.queries(["u:p"], now=shop.as_of)[0]
    plain = fit_repeat(shop, RepeatConfig(half_life_days=None), rng=RNG)
    assert scores(plain, query, 3)[:2] == [1.0, 2.0]
    assert np.isnan(scores(plain, query, 3)[2])
    decayed = fit_repeat(shop, RepeatConfig(half_life_days=30), rng=RNG)
    assert scores(decayed, query, 3)[:2] == pytest.approx([0.5, 0.75])


def test_looking_is_not_buying_again(read: Reader) -> None:
    shop = read([("p", 30, ["a"])], kind="view_item")
    query = shop.queries(["u:p"], now=shop.as_of)[0]
    assert len(query.history)
    model = fit_repeat(shop, RepeatConfig(), rng=RNG)
    assert np.isnan(scores(model, query, 1)).all()


def test_what_was_looked_at_last_comes_first(read: Reader) -> None:
    looks = [("p", 9.0, ["a"]), ("p", 5.0, ["b"]), ("p", 7.0, ["c"]), ("p", 2.0, ["a"])]
    shop = read(looks, kind="view_item")
    query = shop.queries(["u:p"], now=shop.as_of)
    model = fit_recent(shop, RecentConfig(), rng=RNG)
    results = model.condition(query).retrieve(3, np.ones(3, np.bool_))[0]
    assert shop.items.ids(results.numbers) == ["a", "b", "c"]
    assert results.scores.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_a_rebuy_rate_is_that_of_the_customers_of_the_item(read: Reader) -> None:
    again = [(f"p{n}", days, ["soap"]) for n in range(4) for days in (5.0, 40.0)]
    once = [(f"p{n}", 5.0, ["sofa"]) for n in range(4)]
    shop = read(again + once)
    query = shop.queries(["u:p0"], now=shop.as_of)[0]
    model = fit_rebuy(shop, RebuyConfig(prior=4), rng=RNG)
    # (4 of 4 + 4 · ½) / 8 and (0 of 4 + 4 · ½) / 8
    assert scores(model, query, 2) == pytest.approx([0.75, 0.25])
