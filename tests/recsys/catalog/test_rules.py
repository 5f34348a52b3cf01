"""The rule language: what is refused, and which items a condition matches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rule_items import ITEMS, NOW, rules, where

from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog, Item
from recsys.catalog.rules import RuleList, parse_rules


@pytest.fixture
def live_catalog() -> LiveCatalog:
    return LiveCatalog.of(Catalog.of(ITEMS))


def matching(live_catalog: LiveCatalog, **fields: Any) -> str:
    """The ids (= row numbers) of what fulfils the condition."""
    return "".join(map(str, np.flatnonzero(live_catalog.columns.mask(where(**fields)))))


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ({}, "0123456789"),
        ({"item_id": "3"}, "3"),
        ({"item_id": {"not_in": ["3", "nothing"]}}, "012456789"),
        ({"item_id": {"exists": True}}, "0123456789"),
        ({"kind": "article"}, "5"),
        ({"kind": {"in": ["article", "banner"]}}, "56"),
        ({"category": "Home"}, "012"),
        ({"category": "Home > Kitchen"}, "01"),
        ({"category": "Home > Kitchen > Mugs"}, "0"),
        ({"category": "Home>Kitchen >Mugs"}, "0"),
        ({"category": {"in": ["Home>Garden"]}}, "2"),
        ({"category": "Kitchen"}, ""),
        ({"category": {"in": ["Home > Garden", "Homeware"]}}, "23"),
        ({"category": {"not_in": ["Home > Kitchen"], "exists": True}}, "23"),
        ({"category": {"exists": False}}, "456789"),
        ({"brand": {"not_in": ["Fern"]}}, "0134569"),
        ({"price": 9}, "0"),
        ({"price": {"max": 9}}, "038"),
        ({"price": {"min": 9, "max": 19}}, "01"),
        ({"price": {"exists": False}}, "45679"),
        ({"stock": {"min": 10}}, "2"),
        ({"stock": {"exists": False}}, "13456789"),
        ({"attributes": {"colour": "red"}}, "34"),
        ({"attributes": {"colour": {"in": ["blue", "green"]}}}, "3"),
        ({"attributes": {"colour": {"not_in": ["blue"]}}}, "012456789"),
        ({"attributes": {"weight": {"min": 1, "max": 2}}}, "5"),
        ({"attributes": {"weight": 1}}, "5"),
        ({"attributes": {"organic": True}}, "4"),
        ({"attributes": {"organic": 1}}, ""),
        ({"attributes": {"organic": {"exists": True}, "colour": "red"}}, "4"),
        ({"attributes": {"unheard_of": "x"}}, ""),
        ({"any": [{"brand": "Fern"}, {"price": {"max": 5}}]}, "2378"),
        ({"brand": "Fern", "none": [{"price": {"max": 5}}, {"stock": {"exists": True}}]}, "7"),
    ],
)
def test_a_condition_matches(
    live_catalog: LiveCatalog, condition: dict[str, Any], ids: str
) -> None:
    assert matching(live_catalog, **condition) == ids


def test_a_changed_item_is_matched_by_what_it_is_now(live_catalog: LiveCatalog) -> None:
    asked: list[dict[str, Any]] = [
        {"brand": "Fern"},
        {"category": "Home"},
        {"price": {"max": 6}},
        {"attributes": {"colour": "green"}},
        {"kind": "article"},
    ]
    before = [matching(live_catalog, **condition) for condition in asked]
    assert before == ["278", "012", "38", "", "5"]
    put = Item(
        item_id="0", brand="Fern", price=6.0, kind="article", attributes={"colour": ["green"]}
    )
    changed = live_catalog.with_changes([put], revision=1)
    assert [matching(changed, **condition) for condition in asked] == [
        "0278",
        "12",
        "038",
        "0",
        "05",
    ]
    assert [matching(live_catalog, **condition) for condition in asked] == before


def test_new_stock_leaves_the_masks_of_other_attributes(live_catalog: LiveCatalog) -> None:
    of_brand, of_stock = where(brand="Fern"), where(stock={"min": 10})
    masks = [live_catalog.columns.mask(where) for where in (of_brand, of_stock)]
    put = msgspec.structs.replace(ITEMS[2], stock=1.0)
    changed = live_catalog.with_changes([put], revision=1).columns
    assert changed.mask(of_brand) is masks[0]
    assert not changed.mask(of_stock).any()
    assert masks[1].any()


def test_a_mask_is_made_once_and_cannot_be_written(live_catalog: LiveCatalog) -> None:
    mask = live_catalog.columns.mask(where(brand="Fern"))
    assert live_catalog.columns.mask(where(brand="Fern")) is mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True


def test_an_attribute_that_an_item_gains_is_matched(live_catalog: LiveCatalog) -> None:
    assert matching(live_catalog, attributes={"vegan": True}) == ""
    put = msgspec.structs.replace(ITEMS[0], attributes={"vegan": True, "size:eu": "L"})
    changed = live_catalog.with_changes([put], revision=1)
    assert matching(changed, attributes={"vegan": True}) == "0"
    assert matching(changed, attributes={"vegan": {"exists": False}}) == "123456789"
    assert matching(changed, attributes={"size:eu": "L"}) == "0"
    other = msgspec.structs.replace(put, attributes={"size:eu": "M"})
    assert matching(changed.with_changes([other], revision=2), attributes={"size:eu": "L"}) == ""


def test_what_may_be_shown_changes_at_every_date_of_an_item(live_catalog: LiveCatalog) -> None:
    def shown(live_catalog: LiveCatalog) -> list[bool]:
        hours = (-2, -1, 0, 1, 2)
        return [bool(live_catalog.eligible(NOW + timedelta(hours=hour))[0]) for hour in hours]

    assert shown(live_catalog) == [True] * 5
    hour = timedelta(hours=1)
    put = msgspec.structs.replace(ITEMS[0], available_from=NOW - hour, available_until=NOW + hour)
    dated = live_catalog.with_changes([put], revision=1)
    assert shown(dated) == [False, True, True, False, False]
    later = msgspec.structs.replace(put, available_until=NOW + 2 * hour)
    assert shown(dated.with_changes([later], revision=2)) == [False, True, True, True, False]
    assert shown(dated.with_changes(ITEMS[:1], revision=2)) == [True] * 5


def test_prepared_columns_match_alike(live_catalog: LiveCatalog) -> None:
    live_catalog.columns.prepare()
    assert matching(live_catalog, attributes={"colour": "red"}, price={"exists": False}) == "4"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filter": {"price": {"min": 9, "max": 3}}}, "max must not be below min"),
        ({"filter": {"price": {}}}, "use one of min, max, exists"),
        ({"filter": {"colour": "red"}}, "unknown field `colour`"),
        ({"filter": {"brand": {"min": 3}}}, "unknown field `min`"),
        ({"filter": {"category": ["Home", "Kitchen"]}}, "got `array`"),
        ({"filter": {"kind": "film"}}, "Invalid enum value"),
        ({"filter": {"any": []}}, "length >= 1"),
        ({"filter": {"any": [{"any": [{}]}]}}, "unknown field `any`"),
        ({"exclude": {}}, "would exclude everything"),
        ({"boost": [{"where": {}, "factor": 0}]}, "> 0"),
        ({"pin": [{"item_id": "a", "position": 0}, {"item_id": "b", "position": 0}]}, "position"),
        ({"pin": [{"item_id": "a", "position": 0}, {"item_id": "a", "position": 1}]}, "same item"),
        ({"quota": [{"where": {}}]}, "at_least, at_most or both"),
        ({"quota": [{"where": {}, "at_least": 3, "at_most": 2}]}, "not be below at_least"),
        ({"diversity": [{"per": "title", "at_most": 1}]}, "regex"),
        ({"diversity": [{"per": "brand", "at_most": 1, "depth": 1}]}, "levels of a category"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        rules(**fields)


def test_a_rule_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="until must be later than from"):
        parse_rules([{"from": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"}])


class UnclickedImpressions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: RuleList = ()


def test_a_configuration_class_takes_rules_and_gives_them_back() -> None:
    written = [
        {"name": "advent", "from": "2026-12-01T00:00:00Z", "filter": {"price": {"max": 50.0}}},
        {"diversity": [{"per": "brand", "at_most": 2}]},
    ]
    read = UnclickedImpressions.model_validate({"rules": written})
    assert read.rules[0].filter == where(price={"max": 50})
    again = UnclickedImpressions.model_validate(read.model_dump(mode="json"))
    assert again == read
    with pytest.raises(ValidationError, match=r"rules\[0\].filter.price: .*unknown field `mux`"):
        UnclickedImpressions.model_validate({"rules": [{"filter": {"price": {"mux": 1}}}]})


def test_rules_are_written_in_yaml_as_in_json() -> None:
    text = """
    - name: advent
      from: 2026-11-29T00:00:00Z
      until: 2026-12-25 00:00:00+01:00
      boost: [{where: {category: Gifts, price: {max: 25}}, factor: 2}]
      pin: [{item_id: "0", position: 0}]
    """
    (rule,) = parse_rules(yaml.safe_load(text))
    assert rule.boost[0].where == where(category="Gifts", price={"max": 25})
    assert rule.in_force(datetime(2026, 12, 24, 22, 59, tzinfo=UTC))
    assert not rule.in_force(datetime(2026, 12, 24, 23, tzinfo=UTC))


def test_the_variants_of_an_item_are_known(live_catalog: LiveCatalog) -> None:
    numbers = live_catalog.columns.with_variants(np.array([8, 1], np.int32))
    assert sorted(set(numbers.tolist())) == [1, 2, 7, 8]
    alone = live_catalog.with_changes([Item(item_id="7"), Item(item_id="8")], revision=1)
    assert alone.columns.with_variants(np.array([8], np.int32)).tolist() == [8]
