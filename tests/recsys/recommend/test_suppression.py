"""Suppression: what is excluded, what comes back, what is boosted, and where seeds come from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Fatigue, Placement
from recsys.catalog.availability import LiveCatalog, price_ranks
from recsys.catalog.items import Catalog, Item
from recsys.events.schema import KIND_NUMBER
from recsys.events.weighting import Weighting
from recsys.ids import NONE, Vocabulary
from recsys.models.popularity.popularity import PopularityModel
from recsys.models.repurchase.refill import COUNTS, RefillModel
from recsys.query.history import NO_HISTORY, History, unclicked_impressions
from recsys.query.query import Query
from recsys.recommend.already_bought import not_due, returned_items
from recsys.recommend.frequency_cap import frequency_capped
from recsys.recommend.operations import recommend
from recsys.recommend.suppression import price_sensitivity, seeded, suppress

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = 86_400.0
KETTLE, COFFEE, FILTERS, GRINDER, MUG, TEAPOT = range(6)
ITEMS = [
    Item(item_id="kettle", category=["Kitchen", "Kettles"], brand="Bold", price=40.0),
    Item(item_id="coffee", category=["Food", "Coffee"], brand="Roast", price=8.0, list_price=10.0),
    Item(item_id="filters", category=["Food", "Coffee"], brand="Paper", price=2.0),
    Item(item_id="grinder", category=["Kitchen", "Grinders"], brand="Bold", price=60.0),
    Item(item_id="mug", category=["Kitchen", "Mugs"], brand="Clay", price=9.0),
    Item(item_id="teapot", category=["Kitchen", "Kettles"], brand="Bold", price=35.0),
]
CATALOG = Catalog.of(ITEMS, Vocabulary([item.item_id for item in ITEMS]))
# Seven of ten buy coffee again, after about ten days; hardly anybody buys a second kettle.
REFILL = RefillModel(
    chances=np.array([[0.02] * COUNTS, [0.7] * COUNTS] + [[0.02] * COUNTS] * 4, np.float32),
    means=np.log(np.array([400.0, 10.0, 400.0, 400.0, 400.0, 400.0])).astype(np.float32),
    spread=0.5,
    horizon_days=14.0,
    own_prior=2.0,
)
# Most popular first: kettle, coffee, filters, grinder, mug, teapot.
POPULARITY = PopularityModel.of(np.arange(6, 0, -1, dtype=np.float32))


def happened(*events: tuple[str, int, float]) -> History:
    """Events as (kind, item, days ago), oldest first."""
    ordered = sorted(events, key=lambda event: -event[2])
    kinds = np.array([KIND_NUMBER[kind] for kind, _, _ in ordered], np.int8)
    times = np.array([NOW.timestamp() - days * DAY for _, _, days in ordered])
    weights = Weighting().weights(kinds, times, now=NOW.timestamp())
    return History(np.array([item for _, item, _ in ordered], np.int32), kinds, times, weights)


def bundle(**placement: object) -> Bundle:
    for_you = Placement(
        **{"name": "for_you", "blend": {"popularity": 1.0}, "fallback": (), **placement}
    )
    return Bundle(
        manifest=Manifest(
            model_version="v1", as_of=NOW, window_from=NOW, config_digest="", code_revision=""
        ),
        items=CATALOG.vocabulary,
        catalog=CATALOG,
        models={"popularity": POPULARITY, "refill": REFILL},
        placements={"for_you": for_you},
        weighting=Weighting(),
    )


def shown(query: Query, n: int = 6, **placement: object) -> list[int]:
    """What the placement shows, best first."""
    asked = bundle(**placement)
    live_catalog = LiveCatalog.of(asked.catalog)
    (answer,) = recommend(asked, [query], asked.placements["for_you"], live_catalog, n)
    return answer.numbers.tolist()


def of(*events: tuple[str, int, float], **known: object) -> Query:
    history = happened(*events)
    return Query(
        now=NOW, history=history, unclicked_impressions=unclicked_impressions(history), **known
    )


def test_a_kettle_bought_yesterday_does_not_come_back_and_neither_does_fresh_coffee() -> None:
    query = of(("purchase", KETTLE, 1), ("purchase", COFFEE, 1))
    assert shown(query, repeats="when_due") == [FILTERS, GRINDER, MUG, TEAPOT]


@pytest.mark.parametrize(("days", "is_due"), [(1, False), (4, False), (9, True), (30, True)])
def test_coffee_comes_back_when_it_is_due(days: float, is_due: bool) -> None:
    query = of(("purchase", COFFEE, days), ("purchase", KETTLE, 300))
    assert (COFFEE in shown(query, repeats="when_due")) == is_due
    assert KETTLE not in shown(query, repeats="when_due")


def test_a_personal_habit_counts_where_the_shop_has_none() -> None:
    weekly = [("purchase", FILTERS, days) for days in (28.0, 21.0, 14.0)]
    models = {"refill": REFILL}
    assert not_due(happened(*weekly), now=NOW.timestamp(), models={}).tolist() == []
    fresh = happened(*weekly, ("purchase", FILTERS, 2.0))
    assert not_due(fresh, now=NOW.timestamp(), models={}).tolist() == [FILTERS]
    assert not_due(fresh, now=NOW.timestamp(), models=models).tolist() == [FILTERS]
    assert not_due(NO_HISTORY, now=NOW.timestamp(), models=models).tolist() == []


def test_suppressed_items_come_back_where_nothing_else_is_left() -> None:
    everything = of(*(("purchase", item, 1.0) for item in range(6)))
    assert shown(everything, repeats="when_due") == []
    filled = shown(everything, repeats="when_due", fallback=("popularity",))
    assert filled == [KETTLE, COFFEE, FILTERS, GRINDER, MUG, TEAPOT]


def test_an_item_shown_five_times_without_a_click_pauses_for_a_week() -> None:
    fatigue = Fatigue(times=5, rest_days=7)
    seen = [("view_item_list", KETTLE, days) for days in (3.0, 2.5, 2.0, 1.5, 1.0)]
    assert KETTLE not in shown(of(*seen), fatigue=fatigue)
    assert KETTLE in shown(of(*seen[:4]), fatigue=fatigue)
    assert KETTLE in shown(of(*seen))
    long_ago = [(kind, item, days + 8) for kind, item, days in seen]
    assert KETTLE in shown(of(*long_ago), fatigue=fatigue)
    assert shown(of(*seen), fatigue=fatigue, fallback=("popularity",))[-1] == KETTLE


def test_a_click_starts_the_count_anew() -> None:
    seen = [("view_item_list", KETTLE, days) for days in (3.0, 2.5, 2.0, 1.5, 1.0)]
    since_click = unclicked_impressions(happened(*seen, ("select_item", KETTLE, 1.7)))
    assert since_click.items.tolist() == [KETTLE]
    assert since_click.times.tolist() == [2]
    assert since_click.newest.tolist() == [NOW.timestamp() - DAY]
    assert len(unclicked_impressions(happened(*seen, ("view_item", KETTLE, 0.5))).items) == 0
    assert frequency_capped(since_click, Fatigue(times=2), now=NOW.timestamp()).tolist() == [KETTLE]


def test_a_returned_item_is_suppressed_and_similar_items_are_demoted() -> None:
    bought = (("purchase", KETTLE, 20), ("view_item", MUG, 20))
    before = shown(of(*bought), returned_like=0.1)
    after = shown(of(*bought, ("refund", KETTLE, 2)), returned_like=0.1)
    assert KETTLE in before
    assert KETTLE not in after
    assert before[-1] == TEAPOT  # the least popular anyway
    again = happened(*bought, ("refund", KETTLE, 2), ("purchase", KETTLE, 1))
    assert returned_items(again).tolist() == []


def test_an_item_similar_to_a_returned_one_loses_its_lead() -> None:
    query = of(("purchase", TEAPOT, 20), ("refund", TEAPOT, 2))
    assert shown(query)[0] == KETTLE
    assert shown(query, returned_like=0.1)[-1] == KETTLE


def test_complements_start_from_the_newest_purchases_and_leave_their_categories_behind() -> None:
    placement = Placement(
        name="after",
        blend={"popularity": 1.0},
        seeds="last_purchases",
        seed_days=30,
        same_category=0.1,
    )
    history = (("purchase", MUG, 12.0), ("purchase", KETTLE, 3.2), ("purchase", COFFEE, 3.0))
    assert seeded(of(*history), placement).seeds.tolist() == [KETTLE, COFFEE]
    page = np.array([MUG], np.int32)
    assert seeded(of(*history, seeds=page), placement).seeds.tolist() == [MUG]
    old = tuple((kind, item, days + 40) for kind, item, days in history)
    assert seeded(of(*old), placement).seeds.tolist() == []
    after = shown(of(*history), seeds="last_purchases", same_category=0.1)
    assert after == [GRINDER, MUG, FILTERS, TEAPOT]


def test_on_sale_shows_what_costs_less_than_its_list_price_and_nothing_else() -> None:
    assert shown(Query(now=NOW), shows="on_sale", fallback=("popularity",)) == [COFFEE]


def test_new_shows_what_came_lately() -> None:
    first_seen = np.array([-np.inf, np.nan, *(NOW.timestamp() - d * DAY for d in (40, 20, 5, 1))])
    fresh = replace(bundle(shows="new", new_days=30), first_seen=first_seen)
    live_catalog = LiveCatalog.of(fresh.catalog, first_seen=first_seen)
    (answer,) = recommend(fresh, [Query(now=NOW)], fresh.placements["for_you"], live_catalog, 6)
    assert answer.numbers.tolist() == [COFFEE, GRINDER, MUG, TEAPOT]
    opens = msgspec.structs.replace(ITEMS[KETTLE], available_from=NOW - timedelta(days=2))
    later = live_catalog.with_changes([opens], revision=1)
    (answer,) = recommend(fresh, [Query(now=NOW)], fresh.placements["for_you"], later, 6)
    assert answer.numbers.tolist() == [KETTLE, COFFEE, GRINDER, MUG, TEAPOT]


def test_who_buys_the_cheapest_is_sensitive_to_price_and_sees_sales_higher() -> None:
    live_catalog = LiveCatalog.of(CATALOG)
    thrifty = happened(
        *(("purchase", FILTERS, days) for days in (1, 2, 3)), ("purchase", TEAPOT, 4)
    )
    lavish = happened(("purchase", KETTLE, 1), ("purchase", GRINDER, 2), ("purchase", MUG, 3))
    assert price_sensitivity(NO_HISTORY, live_catalog) == 0.0
    assert price_sensitivity(lavish, live_catalog) == 0.0
    assert 0.2 < price_sensitivity(thrifty, live_catalog) <= 1.0
    assert shown(Query(now=NOW, history=thrifty), sale_boost=2.0)[0] == COFFEE
    assert shown(Query(now=NOW, history=lavish), sale_boost=2.0)[0] == KETTLE


def test_price_ranks_stand_between_the_cheapest_and_the_dearest_of_a_category() -> None:
    prices = [4.0, 2.0, 2.0, 8.0, None, 5.0]
    items = [
        Item(item_id=str(n), price=price, category=["A"] if n < 5 else ["B"])
        for n, price in enumerate(prices)
    ]
    ranks = price_ranks(Catalog.of(items))
    np.testing.assert_allclose(ranks, [2 / 3, 1 / 6, 1 / 6, 1.0, np.nan, 0.5], rtol=1e-6)


def test_nothing_is_suppressed_for_a_stranger() -> None:
    placement = Placement(
        name="p", blend={"popularity": 1.0}, repeats="when_due", returned_like=0.5, sale_boost=1.0
    )
    nothing = suppress(Query(now=NOW), placement, LiveCatalog.of(CATALOG), {"refill": REFILL})
    assert nothing.excluded.tolist() == nothing.suppressed.tolist() == NONE.tolist()
    assert nothing.factors is None
