"""What rules promise holds in every list, whatever exploration, pins and fallbacks do to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Exploration, Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Rules, Where
from recsys.dataset.training_data import TrainingData
from recsys.ids import Mask
from recsys.query.query import Query
from recsys.recommend.answers import EXPLORATION
from recsys.recommend.operations import recommend

N_NEW = 60


@dataclass(frozen=True)
class Shop:
    """The synthetic shop: some of its items new, its placement free of suppression."""

    bundle: Bundle
    live_catalog: LiveCatalog
    placement: Placement
    customers: list[Query]


@pytest.fixture(scope="module")
def shop(bundle: Bundle, small_data: TrainingData) -> Shop:
    first_seen = np.full(len(bundle.items), -np.inf)
    first_seen[:N_NEW] = np.nan
    placement = bundle.placements["for_you"].model_copy(
        update={
            "repeats": "allow",
            "fatigue": None,
            "returned_like": None,
            "exploration": Exploration(share=0.5, every=3, first=1),
        }
    )
    known = [person for person in small_data.users.ids() if person.startswith("u:")]
    return Shop(
        replace(bundle, first_seen=first_seen),
        LiveCatalog.of(bundle.catalog, first_seen=first_seen),
        placement,
        [Query(now=small_data.as_of), *small_data.queries(known[:8], now=small_data.as_of)],
    )


@st.composite
def rules_of(draw: st.DrawFn, shop: Shop) -> Rules:
    """Rules that contradict each other only where a promise says what then holds."""
    items = shop.live_catalog.items
    item_ids = st.sampled_from([item.item_id for item in items])
    conditions = st.one_of(
        st.sampled_from(sorted({(item.category or [""])[0] for item in items} - {""})).map(
            lambda category: {"category": category}
        ),
        st.sampled_from(sorted({item.brand for item in items if item.brand})).map(
            lambda brand: {"brand": brand}
        ),
        st.sampled_from([5.0, 20.0, 60.0]).map(lambda price: {"price": {"max": price}}),
        item_ids.map(lambda item_id: {"item_id": item_id}),
    )
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["filter"] = {"any": draw(st.lists(conditions, min_size=1, max_size=3))}
    fields["exclude"] = draw(st.one_of(st.lists(item_ids, max_size=4), conditions))
    pinned = draw(st.lists(item_ids, max_size=3, unique=True))
    positions = draw(st.lists(st.integers(0, 9), min_size=3, max_size=3, unique=True))
    fields["pin"] = [
        {"item_id": item_id, "position": position}
        for item_id, position in zip(pinned, positions, strict=False)
    ]
    fields["quota"] = [
        {"where": draw(conditions), "at_least": least}
        for least in draw(st.lists(st.integers(1, 3), max_size=2))
    ]
    if draw(st.booleans()):
        fields["quota"].append({"where": draw(conditions), "at_most": draw(st.integers(0, 3))})
    if draw(st.booleans()):
        fields["diversity"] = [{"per": "category", "depth": 1, "at_most": draw(st.integers(1, 4))}]
    return msgspec.convert(fields, Rules)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_what_rules_promise_holds_in_every_list(shop: Shop, data: st.DataObject) -> None:
    rules = data.draw(rules_of(shop))
    query = data.draw(st.sampled_from(shop.customers))
    rng = np.random.default_rng(data.draw(st.integers(0, 3)))
    (answer,) = recommend(
        shop.bundle, [query], shop.placement, shop.live_catalog, 10, rules=rules, rng=rng
    )
    shown = answer.numbers
    allowed = _allowed(shop, rules, query)
    # Filter, exclusion and stock; no item twice; never short while something may be shown.
    assert allowed[shown].all()
    assert len(set(shown.tolist())) == len(shown)
    assert len(shown) == min(10, allowed.sum())
    # Pins, as far as they may be shown.
    pins = [
        (pin.position, number)
        for pin in rules.pin
        if (number := shop.bundle.items.number(pin.item_id)) is not None and allowed[number]
    ]
    for position, number in pins:
        if position < len(shown) == 10:
            assert shown[position] == number
    # Minima, in the positions that pins leave.
    for quota in rules.quota:
        matches = shop.live_catalog.columns.mask(quota.where)
        reachable = (allowed & matches).sum()
        assert matches[shown].sum() >= min(quota.at_least or 0, reachable)
    # A maximum gives way to minima, pins and the length of the list alone.
    for quota in rules.quota:
        matches = shop.live_catalog.columns.mask(quota.where)
        forced = sum(other.at_least or 0 for other in rules.quota) + len(pins)
        others = (allowed & ~matches).sum()
        if quota.at_most is not None and others >= 10:
            assert matches[shown].sum() <= quota.at_most + forced


def test_the_lists_of_these_rules_do_explore(shop: Shop) -> None:
    explored = 0
    for seed in range(30):
        (answer,) = recommend(
            shop.bundle,
            [shop.customers[0]],
            shop.placement,
            shop.live_catalog,
            10,
            rules=msgspec.convert(
                {"quota": [{"where": {"price": {"max": 60}}, "at_least": 3}]}, Rules
            ),
            rng=np.random.default_rng(seed),
        )
        explored += any(item.source == EXPLORATION for item in answer.items)
    assert explored > 5


def _allowed(shop: Shop, rules: Rules, query: Query) -> Mask:
    """The items that stock and hard rules let through, each condition asked by itself."""
    columns = shop.live_catalog.columns
    allowed = shop.live_catalog.eligible(query.now).copy()
    if columns.only_products is not None:
        allowed &= columns.only_products
    if rules.filter is not None:
        allowed &= columns.mask(rules.filter)
    if isinstance(rules.exclude, Where):
        allowed &= ~columns.mask(rules.exclude)
    elif rules.exclude:
        allowed[shop.bundle.items.known(rules.exclude)] = False
    allowed[query.refused] = False
    return allowed
