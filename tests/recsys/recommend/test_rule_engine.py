"""The rule engine: hard rules, pins, quotas, diversity and variants of a list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_items import ITEMS, NOW, rules, where

from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog
from recsys.catalog.rules import Rule
from recsys.recommend.rule_engine import RuleEngine, compile_rules


@pytest.fixture
def live_catalog() -> LiveCatalog:
    return LiveCatalog.of(Catalog.of(ITEMS))


def chosen(engine: RuleEngine, pool: str, n: int, **options: Any) -> str:
    """The selected list as text; a digit is an item."""
    numbers = np.array([int(digit) for digit in pool], np.int32)
    return "".join(pool[index] for index in engine.select(numbers, n, **options).indices)


def test_a_rule_holds_from_its_first_moment_until_its_last(live_catalog: LiveCatalog) -> None:
    rule = Rule(filter=where(brand="Fern"), from_=NOW, until=NOW + timedelta(days=1), name="fern")
    moments = (NOW - timedelta(seconds=1), NOW, NOW + timedelta(days=1))
    barriers = [dict(compile_rules(live_catalog, moment, [rule]).barriers) for moment in moments]
    assert ["fern.filter" in each for each in barriers] == [False, True, False]


def test_lists_hold_products_unless_a_rule_asks_for_a_kind(live_catalog: LiveCatalog) -> None:
    everything = np.ones(10, np.bool_)
    assert np.flatnonzero(~compile_rules(live_catalog, NOW).allowed(everything)).tolist() == [5, 6]
    articles = compile_rules(live_catalog, NOW, request=rules(filter={"kind": "article"}))
    assert np.flatnonzero(articles.allowed(everything)).tolist() == [5]
    both = rules(filter={"any": [{"kind": "article"}, {"kind": "product"}]})
    assert compile_rules(live_catalog, NOW, request=both).allowed(everything).sum() == 9


def test_filters_of_placement_and_request_hold_together(live_catalog: LiveCatalog) -> None:
    engine = compile_rules(
        live_catalog,
        NOW,
        [Rule(filter=where(category="Home"))],
        rules(exclude={"brand": "Fern"}),
    )
    assert np.flatnonzero(engine.allowed(np.ones(10, np.bool_))).tolist() == [0, 1]


def test_items_are_excluded_one_by_one(live_catalog: LiveCatalog) -> None:
    engine = compile_rules(live_catalog, NOW, request=rules(exclude=["3", "nothing", "1"]))
    assert sorted(engine.excluded.tolist()) == [1, 3]


def test_boosts_multiply(live_catalog: LiveCatalog) -> None:
    engine = compile_rules(
        live_catalog,
        NOW,
        [Rule(boost=rules(boost=[{"where": {"brand": "Fern"}, "factor": 2}]).boost)],
        rules(boost=[{"where": {"price": {"max": 10}}, "factor": 0.1}]),
    )
    scores = engine.boosted(np.array([1, 2, 8], np.int32), np.ones(3, np.float32))
    np.testing.assert_allclose(scores, [1.0, 2.0, 0.2])


def test_variants_of_a_product_stand_once(live_catalog: LiveCatalog) -> None:
    engine = compile_rules(live_catalog, NOW)
    assert chosen(engine, "7283069", 4) == "7306"
    assert chosen(engine, "7283069", 9, relax=True) == "7306"


def test_diversity_limits_an_attribute_until_the_list_would_get_short(
    live_catalog: LiveCatalog,
) -> None:
    engine = compile_rules(
        live_catalog, NOW, request=rules(diversity=[{"per": "brand", "at_most": 1}])
    )
    assert chosen(engine, "01423", 4) == "0423"
    assert chosen(engine, "0142", 4) == "042"
    assert chosen(engine, "0142", 4, relax=True) == "0142"


def test_diversity_counts_the_first_levels_of_a_category(live_catalog: LiveCatalog) -> None:
    by_path = rules(diversity=[{"per": "category", "at_most": 1}])
    assert chosen(compile_rules(live_catalog, NOW, request=by_path), "0123", 4) == "0123"
    widest = rules(diversity=[{"per": "category", "at_most": 1, "depth": 1}])
    assert chosen(compile_rules(live_catalog, NOW, request=widest), "0123", 4) == "03"
    two_levels = rules(diversity=[{"per": "category", "at_most": 1, "depth": 2}])
    assert chosen(compile_rules(live_catalog, NOW, request=two_levels), "0123", 4) == "023"


def test_a_quota_brings_in_what_it_asks_for(live_catalog: LiveCatalog) -> None:
    fern = {"where": {"brand": "Fern"}, "at_least": 1}
    engine = compile_rules(live_catalog, NOW, request=rules(quota=[fern]))
    assert chosen(engine, "01432", 3) == "012"
    assert chosen(engine, "20143", 3) == "201"
    selection = engine.select(np.array([0, 1, 4], np.int32), 3)
    (unmet,) = selection.unmet_quotas
    assert np.flatnonzero(unmet).tolist() == [2, 7, 8]


def test_a_quota_keeps_out_what_is_too_much(live_catalog: LiveCatalog) -> None:
    cheap = {"where": {"price": {"max": 10}}, "at_most": 1}
    engine = compile_rules(live_catalog, NOW, request=rules(quota=[cheap]))
    assert chosen(engine, "0312", 3) == "012"
    assert chosen(engine, "031", 3, relax=True) == "031"


def test_a_pinned_item_stands_at_its_position(live_catalog: LiveCatalog) -> None:
    pins = [{"item_id": "3", "position": 1}, {"item_id": "1", "position": 0}]
    engine = compile_rules(live_catalog, NOW, request=rules(pin=pins))
    assert chosen(engine, "04213", 4) == "1304"
    assert chosen(engine, "042", 3) == "042"
    selection = engine.select(np.array([0, 4, 2, 1, 3], np.int32), 4)
    assert selection.pinned == {3, 4}


def test_the_requests_pin_outranks_the_placements(live_catalog: LiveCatalog) -> None:
    shops = Rule(pin=rules(pin=[{"item_id": "3", "position": 0}]).pin)
    requests = rules(pin=[{"item_id": "3", "position": 2}])
    assert chosen(compile_rules(live_catalog, NOW, [shops], requests), "3012", 4) == "0132"


def test_effects_count_what_each_soft_rule_held_back(live_catalog: LiveCatalog) -> None:
    engine = compile_rules(
        live_catalog, NOW, request=rules(diversity=[{"per": "brand", "at_most": 1}])
    )
    effects = engine.select(np.array([2, 7, 8, 0, 1, 4], np.int32), 3).effects
    assert {effect.rule: effect.removed for effect in effects} == {"request.diversity[0]": 3}


CONDITIONS = st.sampled_from(
    [
        {},
        {"brand": "Fern"},
        {"category": "Home"},
        {"price": {"max": 10}},
        {"attributes": {"colour": "red"}},
        {"none": [{"brand": {"exists": True}}]},
    ]
)
SOFT = st.fixed_dictionaries(
    {},
    optional={
        "pin": st.lists(
            st.fixed_dictionaries(
                {"item_id": st.sampled_from("0123456789"), "position": st.integers(0, 9)}
            ),
            max_size=3,
            unique_by=(lambda pin: pin["item_id"], lambda pin: pin["position"]),
        ),
        "quota": st.lists(
            st.fixed_dictionaries({"where": CONDITIONS, "at_most": st.integers(0, 3)})
            | st.fixed_dictionaries({"where": CONDITIONS, "at_least": st.integers(1, 3)}),
            max_size=3,
        ),
        "diversity": st.lists(
            st.fixed_dictionaries(
                {
                    "per": st.sampled_from(["brand", "category", "kind", "attributes.colour"]),
                    "at_most": st.integers(1, 3),
                }
            ),
            max_size=2,
        ),
    },
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(fields=SOFT, pool=st.permutations(range(10)), kept=st.integers(0, 10), n=st.integers(1, 10))
def test_whatever_the_rules_a_list_is_distinct_and_as_long_as_can_be(
    live_catalog: LiveCatalog, fields: dict[str, Any], pool: list[int], kept: int, n: int
) -> None:
    numbers = np.array(pool[:kept], np.int32)
    engine = compile_rules(live_catalog, NOW, request=rules(**fields))
    item_groups = live_catalog.columns.item_groups
    assert item_groups is not None
    possible = min(n, len(set(item_groups[numbers].tolist())))
    for relax in (False, True):
        indices = list(engine.select(numbers, n, relax=relax).indices)
        groups = item_groups[numbers[indices]].tolist()
        assert len(set(groups)) == len(groups) <= n
        if relax:
            assert len(groups) == possible
    strict = engine.select(numbers, n)
    pinned = {pin["item_id"] for pin in fields.get("pin", ())}
    free = [index for index in strict.indices if str(numbers[index]) not in pinned]
    for cap in fields.get("diversity", ()):
        codes = live_catalog.columns.codes(cap["per"])[numbers[free]]
        assert np.bincount(codes[codes >= 0], minlength=1).max() <= cap["at_most"]
    for quota in fields.get("quota", ()):
        if "at_most" in quota:
            inside = live_catalog.columns.mask(where(**quota["where"]))[numbers[free]]
            assert inside.sum() <= quota["at_most"]
    assert [index for index in strict.indices if index in free] == sorted(free)
