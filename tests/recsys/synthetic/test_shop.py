"""The synthetic shop: its truth shows in what its people do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog, parse_item
from recsys.errors import InvalidInput
from recsys.events.schema import Event, parse_event
from recsys.query.profile import parse_profile
from recsys.synthetic import (
    Impression,
    ShopConfig,
    SyntheticShop,
    attraction,
    examination,
    make_shop,
    react,
    simulate,
)
from recsys.synthetic.assortment import CATEGORIES

CONFIG = ShopConfig(customers=300, items=200, days=90, refusal_share=0.1)
HELD_OUT_DAYS = 20


@pytest.fixture(scope="module")
def shop() -> SyntheticShop:
    return make_shop(CONFIG, rng=np.random.default_rng(11))


@pytest.fixture(scope="module")
def days(shop: SyntheticShop) -> list[list[Event]]:
    return list(simulate(shop, days=CONFIG.days, rng=np.random.default_rng(12)))


@pytest.fixture(scope="module")
def events(days: list[list[Event]]) -> list[Event]:
    return [event for day in days for event in day]


def purchases(days: Sequence[Sequence[Event]]) -> list[tuple[str, str]]:
    """(customer, item) of every purchased line of people who were logged in."""
    return [
        (event.user_id, item.item_id)
        for day in days
        for event in day
        if event.event == "purchase" and event.user_id
        for item in event.items
    ]


def test_the_same_seed_gives_the_same_shop_and_history() -> None:
    config = ShopConfig(customers=40, items=80, days=10)

    def once(seed: int) -> tuple[bytes, bytes]:
        rng = np.random.default_rng(seed)
        shop = make_shop(config, rng=rng)
        history = list(simulate(shop, days=10, rng=rng))
        return msgspec.json.encode((shop.items, shop.profiles)), msgspec.json.encode(history)

    assert once(3) == once(3)
    assert once(3)[0] != once(4)[0]
    assert once(3)[1] != once(4)[1]


def test_every_event_item_and_profile_passes_the_door(
    shop: SyntheticShop, events: list[Event]
) -> None:
    for event in events:
        assert parse_event(msgspec.json.encode(event)) == event
    for item in shop.items:
        assert parse_item(msgspec.json.encode(item)) == item
    for profile in shop.profiles:
        assert parse_profile(msgspec.json.encode(profile)) == profile


def test_all_of_it_is_labelled_as_synthetic(shop: SyntheticShop) -> None:
    assert all(item.attributes["synthetic"] is True for item in shop.items)
    assert all(profile.traits["synthetic"] is True for profile in shop.profiles)


def test_titles_are_distinct_and_readable(shop: SyntheticShop) -> None:
    titles = [item.title for item in shop.items]
    assert len(set(titles)) == len(titles)
    assert all(title[0].isupper() and 2 <= len(title.split()) <= 10 for title in titles)
    assert len({item.category[0] for item in shop.items}) == 6


def test_event_ids_are_distinct_and_each_day_holds_its_own_events_in_order(
    days: list[list[Event]], events: list[Event]
) -> None:
    assert len({event.event_id for event in events}) == len(events)
    for number, day in enumerate(days):
        times = [event.timestamp for event in day]
        assert times == sorted(times)
        assert {time.date() for time in times} <= {CONFIG.start + timedelta(days=number)}


def test_every_organic_kind_of_event_occurs(events: list[Event]) -> None:
    assert {event.event for event in events} == {
        "view_item",
        "view_item_list",
        "select_item",
        "search",
        "add_to_cart",
        "remove_from_cart",
        "add_to_wishlist",
        "begin_checkout",
        "purchase",
        "refund",
        "identify",
    }


def test_the_chances_of_a_person_sum_to_one(shop: SyntheticShop) -> None:
    when = CONFIG.opening + timedelta(days=30)
    chances = shop.purchase_probabilities("c-0007", when)
    assert chances.sum() == pytest.approx(1.0)


def test_first_choices_follow_the_stated_probabilities() -> None:
    """Over thousands of visits each item is looked at first as often as the truth says."""
    config = ShopConfig(
        customers=2000,
        items=2 * len(CATEGORIES),
        days=2,
        anonymous_share=0,
        new_item_share=0,
        visits_per_month=30,
        conversion=0,
        search_share=0,
        listing_share=0,
    )
    shop = make_shop(config, rng=np.random.default_rng(5))
    history = list(simulate(shop, days=2, rng=np.random.default_rng(6)))
    viewed: dict[str, list[Event]] = defaultdict(list)
    for event in history[0] + history[1]:
        if event.event == "view_item":
            viewed[str(event.session_id)].append(event)
    seen = np.zeros(len(shop.items))
    expected = np.zeros(len(shop.items))
    for events in viewed.values():
        live_catalog = [shop.item_number(event.items[0].item_id) for event in events]
        categories = shop.assortment.categories[live_catalog]
        # The favourite of the first shelf is the last one viewed along it.
        seen[live_catalog[np.count_nonzero(categories == categories[0]) - 1]] += 1
        expected += shop.purchase_probabilities(
            str(events[0].anonymous_id), config.opening + timedelta(hours=12)
        )
    assert len(viewed) > 3000
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected.max())
    assert ((seen - expected) ** 2 / expected).sum() < 2 * len(shop.items)


def test_complements_are_bought_together_far_above_chance(
    shop: SyntheticShop, events: list[Event]
) -> None:
    baskets = [{i.item_id for i in event.items} for event in events if event.event == "purchase"]
    share = {
        item: sum(item in basket for basket in baskets) / len(baskets)
        for item in {i.item_id for i in shop.items}
    }
    together = expected = by_truth = 0.0
    for item in shop.items:
        theirs = [basket for basket in baskets if item.item_id in basket]
        for other, chance in shop.complements(item.item_id).items():
            together += sum(other in basket for basket in theirs)
            expected += share[other] * len(theirs)
            by_truth += chance * len(theirs)
    assert together > 4 * expected
    assert 0.6 * by_truth < together < 1.6 * by_truth + expected


def test_price_sensitive_customers_buy_cheaper(
    shop: SyntheticShop, days: list[list[Event]]
) -> None:
    paid: dict[bool, list[float]] = {True: [], False: []}
    for customer, item in purchases(days):
        sensitive = shop.price_sensitivity(customer) > 1.0
        paid[sensitive].append(shop.assortment.relative_prices[shop.item_number(item)])
    assert np.mean(paid[True]) < np.mean(paid[False]) - 0.1


def test_loyal_customers_prefer_their_brand(shop: SyntheticShop, days: list[list[Event]]) -> None:
    people, goods = shop.people, shop.assortment
    chosen = offered = 0.0
    for customer, item in purchases(days):
        number = shop.item_number(item)
        likes = people.brand_logits[shop.person_number(customer)][goods.brands] > 1.0
        live_catalog = goods.categories == goods.categories[number]
        if likes[live_catalog].any():
            chosen += likes[number]
            offered += likes[live_catalog].mean()
    assert chosen > 1.5 * offered


def test_the_truth_beats_popularity_by_a_wide_margin_on_held_out_purchases(
    shop: SyntheticShop, days: list[list[Event]]
) -> None:
    cut = len(days) - HELD_OUT_DAYS
    popular = Counter(item for _, item in purchases(days[:cut]))
    by_popularity = {item for item, _ in popular.most_common(10)}
    when = CONFIG.opening + timedelta(days=cut)
    held_out: dict[str, set[str]] = defaultdict(set)
    for customer, item in purchases(days[cut:]):
        held_out[customer].add(item)
    oracle, everybody = [], []
    for customer, bought in held_out.items():
        best = np.argsort(-shop.purchase_probabilities(customer, when))[:10]
        oracle.append(len(bought & {shop.items[n].item_id for n in best}) / len(bought))
        everybody.append(len(bought & by_popularity) / len(bought))
    assert len(held_out) > 80
    assert np.mean(oracle) > 1.5 * np.mean(everybody)


def test_repeats_are_a_part_of_the_purchases_but_not_all(days: list[list[Event]]) -> None:
    cut = len(days) - HELD_OUT_DAYS
    before = set(purchases(days[:cut]))
    later = purchases(days[cut:])
    share = sum(pair in before for pair in later) / len(later)
    assert 0.1 < share < 0.6


def test_consumables_come_back_after_about_their_refill_time(
    shop: SyntheticShop, events: list[Event]
) -> None:
    last: dict[tuple[str, str], float] = {}
    ratios = []
    for event in events:
        if event.event == "purchase" and event.user_id:
            for item in event.items:
                spec = CATEGORIES[shop.assortment.categories[shop.item_number(item.item_id)]]
                pair = (event.user_id, item.item_id)
                if spec.refill_days and pair in last:
                    waited = (event.timestamp.timestamp() - last[pair]) / 86_400
                    ratios.append(waited / spec.refill_days)
                last[pair] = event.timestamp.timestamp()
    assert len(ratios) > 50
    assert 0.8 < np.median(ratios) < 1.2


def test_new_items_appear_only_after_available_from(
    shop: SyntheticShop, events: list[Event]
) -> None:
    opens = {i.item_id: i.available_from for i in shop.items if i.available_from is not None}
    seen = set()
    for event in events:
        for item in event.items:
            if item.item_id in opens:
                assert event.timestamp >= opens[item.item_id]
                seen.add(item.item_id)
    assert len(seen) > len(opens) / 2 > 4


def test_before_its_sale_an_item_is_chosen_by_nobody(shop: SyntheticShop) -> None:
    new = next(item for item in shop.items if item.available_from is not None)
    assert new.available_from is not None
    opening = new.available_from
    number = shop.item_number(new.item_id)
    assert shop.purchase_probabilities("c-0001", opening - timedelta(hours=1))[number] == 0.0
    assert shop.purchase_probabilities("c-0001", opening)[number] > 0.0


def test_refusals_carry_denied_consent(shop: SyntheticShop, events: list[Event]) -> None:
    refused = {str(p.user_id) for p in shop.profiles if p.consent and not p.consent.personalization}
    assert 0.04 * CONFIG.customers < len(refused) < 0.2 * CONFIG.customers
    for event in events:
        person = event.user_id or event.anonymous_id
        assert event.consent is not None
        assert event.personalization == (not shop.people.refuses[shop.person_number(str(person))])
    share = sum(not event.personalization for event in events) / len(events)
    assert 0.03 < share < 0.25


def test_visitors_who_log_in_are_joined_by_identify(events: list[Event]) -> None:
    joined: dict[str, str] = {}
    visitors_before_login = set()
    for event in events:
        if event.event == "identify":
            joined[str(event.anonymous_id)] = str(event.user_id)
        elif event.user_id is not None and event.event != "refund":
            assert joined[str(event.anonymous_id)] == event.user_id
        elif event.anonymous_id not in joined:
            visitors_before_login.add(event.anonymous_id)
    assert len(visitors_before_login & set(joined)) > 20


def test_the_declared_share_of_visits_is_anonymous(
    shop: SyntheticShop, events: list[Event]
) -> None:
    who = {str(e.session_id): shop.person_number(str(e.anonymous_id)) for e in events}
    share = np.mean([person >= CONFIG.customers for person in who.values()])
    # Refills add visits of customers, so that the share is a little lower than declared.
    assert CONFIG.anonymous_share - 0.15 < share < CONFIG.anonymous_share + 0.05


def test_saturdays_are_busier_than_tuesdays(days: list[list[Event]]) -> None:
    visits: dict[int, list[int]] = defaultdict(list)
    for number, day in enumerate(days):
        weekday = (CONFIG.start + timedelta(days=number)).weekday()
        visits[weekday].append(len({event.session_id for event in day}))
    assert np.mean(visits[5]) > 1.1 * np.mean(visits[1])


def test_winter_goods_sell_better_in_winter(shop: SyntheticShop) -> None:
    blankets = [n for n, item in enumerate(shop.items) if item.category[1] == "Blankets"]
    summer, winter = (
        np.mean(
            [
                shop.purchase_probabilities(f"c-{n:04d}", when)[blankets].sum()
                for n in range(0, CONFIG.customers, 10)
            ]
        )
        for when in (CONFIG.opening, CONFIG.opening + timedelta(days=160))
    )
    assert winter > 2 * summer


def test_the_search_engine_is_useful_but_imperfect(shop: SyntheticShop) -> None:
    assert len(shop.queries) >= 30
    when = CONFIG.opening + timedelta(days=CONFIG.days)
    gains, ideals = [], []
    for query in shop.queries:
        grades = shop.relevance(query)
        assert set(grades.values()) <= {1, 2, 3}
        assert 3 in grades.values()
        result = shop.search(query, when, n=10)
        scores = [score for _, score in result]
        assert scores == sorted(scores, reverse=True)
        got = np.array([grades.get(item, 0) for item, _ in result])
        best = np.sort(list(grades.values()))[::-1][: len(got)]
        if len(set(grades.values())) == 1:
            continue
        gains.append((got / np.log2(np.arange(len(got)) + 2)).sum())
        ideals.append((best / np.log2(np.arange(len(best)) + 2)).sum())
    assert len(gains) > 20
    assert 0.6 < sum(gains) / sum(ideals) < 0.95


def test_a_colour_in_the_search_term_is_graded_above_other_colours(shop: SyntheticShop) -> None:
    query = next(query for query in shop.queries if query.endswith("mug"))
    grades = shop.relevance(query)
    titles = {item.item_id: item.title.lower() for item in shop.items}
    exact = [i for i, grade in grades.items() if all(w in titles[i] for w in query.split())]
    assert exact
    assert all(grades[item] == 3 for item in exact)
    assert min(grades.values()) < 3


def test_higher_positions_get_more_clicks(shop: SyntheticShop) -> None:
    """The same items in random order for random customers: only the position can matter."""
    rng = np.random.default_rng(1)
    when = CONFIG.opening + timedelta(days=CONFIG.days)
    ids = [item.item_id for item in shop.items]
    clicks = np.zeros(10)
    for n in range(3000):
        shown = [ids[i] for i in rng.permutation(len(ids))[:10]]
        impression = Impression(f"c-{n % CONFIG.customers:04d}", shown, when)
        for event in react(shop, impression, rng=rng):
            if event.event == "select_item":
                clicks[event.items[0].index or 0] += 1
    assert clicks[0] > clicks[1:3].mean() > clicks[3:6].mean() > clicks[6:].mean()
    assert clicks[0] > 2 * clicks[5:].mean()
    assert clicks / clicks[0] == pytest.approx(examination(np.arange(10)), abs=0.25)


def test_a_list_after_the_persons_taste_gets_more_clicks_and_money_than_a_popular_one(
    shop: SyntheticShop, days: list[list[Event]]
) -> None:
    when = CONFIG.opening + timedelta(days=CONFIG.days)
    popular = [item for item, _ in Counter(i for _, i in purchases(days)).most_common(10)]
    earned: dict[str, Counter[str]] = {"personal": Counter(), "popular": Counter()}
    for n in range(CONFIG.customers):
        customer = f"c-{n:04d}"
        best = np.argsort(-shop.purchase_probabilities(customer, when))[:10]
        personal = [shop.items[number].item_id for number in best]
        for name, shown in (("personal", personal), ("popular", popular)):
            for event in react(
                shop, Impression(customer, shown, when), rng=np.random.default_rng(n)
            ):
                earned[name][event.event] += 1
    for kind in ("select_item", "add_to_cart", "purchase"):
        assert earned["personal"][kind] > 1.3 * earned["popular"][kind]


def test_reactions_are_tied_to_the_recommendation_and_the_session(shop: SyntheticShop) -> None:
    when = CONFIG.opening + timedelta(days=CONFIG.days)
    shown = [item.item_id for item in shop.items if item.available_from is None][:12]
    kinds: Counter[str] = Counter()
    for n in range(200):
        impression = Impression(
            f"v-{n:05d}", shown, when, recommendation_id=f"r-{n}", session_id=f"s-{n}"
        )
        happened = react(shop, impression, rng=np.random.default_rng(n))
        for event in happened:
            assert parse_event(msgspec.json.encode(event)) == event
            assert (event.recommendation_id, event.session_id) == (f"r-{n}", f"s-{n}")
            assert (event.user_id, event.anonymous_id) == (None, f"v-{n:05d}")
            assert event.timestamp > when
            kinds[event.event] += 1
        assert happened[0].event == "view_item_list"
        assert [item.item_id for item in happened[0].items] == shown[: len(happened[0].items)]
    assert kinds["view_item_list"] == 200
    assert kinds["select_item"] > kinds["add_to_cart"] > kinds["purchase"] > 0


def test_items_not_on_sale_attract_nobody(shop: SyntheticShop) -> None:
    new = next(n for n, item in enumerate(shop.items) if item.available_from is not None)
    assert attraction(shop, "c-0000", CONFIG.opening, np.array([new])) == 0.0


def test_an_empty_list_causes_nothing(shop: SyntheticShop) -> None:
    impression = Impression("c-0000", [], CONFIG.opening)
    assert react(shop, impression, rng=np.random.default_rng(0)) == []


@pytest.mark.parametrize("person", ["c-9999", "c-1", "x-0001", "v-99999", "c-²", ""])
def test_a_stranger_to_the_shop_is_refused_by_name(shop: SyntheticShop, person: str) -> None:
    with pytest.raises(InvalidInput, match=r"person is .*use an id of this shop"):
        shop.purchase_probabilities(person, CONFIG.opening)


def test_an_unknown_search_term_is_refused_by_name(shop: SyntheticShop) -> None:
    with pytest.raises(InvalidInput, match="query is 'submarine'"):
        shop.relevance("submarine")


def test_a_shop_that_opens_with_empty_shelves_has_a_history() -> None:
    config = ShopConfig(customers=50, items=40, days=12, new_item_share=0.99)
    shop = make_shop(config, rng=np.random.default_rng(3))
    live_catalog = LiveCatalog.of(Catalog.of(shop.items))
    assert not live_catalog.eligible(config.opening).any()
    assert shop.purchase_probabilities("c-0000", config.opening).sum() == 0.0
    history = list(simulate(shop, days=12, rng=np.random.default_rng(2)))
    assert {event.event for event in history[0]} <= {"identify"}
    assert "view_item" in {event.event for event in history[11]}
