"""Items and the catalogue as columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog, Item, category_path, parse_item
from recsys.errors import InvalidInput
from recsys.ids import Vocabulary

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MUG = Item(
    item_id="mug", title="Mug", category=["Home", "Kitchen"], brand="Acme", price=4.5, stock=3
)


def test_columns_stand_in_the_order_of_the_vocabulary() -> None:
    catalog = Catalog.of([MUG, Item(item_id="tea", price=2.0)], Vocabulary(["tea", "mug"]))
    assert [item.item_id for item in catalog.items] == ["tea", "mug"]
    np.testing.assert_array_equal(catalog.prices, np.array([2.0, 4.5], np.float32))
    assert catalog.category_names.ids() == ["Home > Kitchen"]
    assert catalog.categories.tolist() == [-1, 0]
    assert catalog.brands.tolist() == [-1, 0]


def test_an_item_known_from_events_alone_has_its_id_and_nothing_else() -> None:
    catalog = Catalog.of([MUG], Vocabulary(["mug", "seen"]))
    assert catalog.items[1] == Item(item_id="seen")
    assert np.isnan(catalog.prices[1])
    assert catalog.title(1) == "seen"
    assert catalog.title(0) == "Mug"


def test_a_later_entry_replaces_an_earlier_one_whole() -> None:
    catalog = Catalog.of([MUG, Item(item_id="mug", price=5.0)])
    assert len(catalog) == 1
    assert catalog.items[0] == Item(item_id="mug", price=5.0)


def test_an_empty_catalogue_has_empty_columns() -> None:
    catalog = Catalog.of([])
    assert len(catalog) == 0
    assert catalog.prices.dtype == np.float32
    assert LiveCatalog.of(catalog).eligible(NOON).shape == (0,)


@pytest.mark.parametrize(
    ("change", "sellable"),
    [
        ({}, True),
        ({"stock": 0}, False),
        ({"stock": None}, True),
        ({"withdrawn": True}, False),
        ({"available_from": NOON}, True),
        ({"available_from": NOON + timedelta(seconds=1)}, False),
        ({"available_until": NOON}, False),
        ({"available_until": NOON + timedelta(seconds=1)}, True),
    ],
)
def test_an_item_is_sold_while_it_is_in_stock_not_withdrawn_and_within_its_dates(
    change: dict[str, Any], sellable: bool
) -> None:
    item = Item(**{"item_id": "a", "stock": 1, **change})
    assert LiveCatalog.of(Catalog.of([item])).eligible(NOON).tolist() == [sellable]
    changed = LiveCatalog.of(Catalog.of([Item(item_id="a")])).with_changes([item], revision=1)
    assert changed.eligible(NOON).tolist() == [sellable]


def test_an_item_is_read_from_json_and_from_a_mapping() -> None:
    raw = {"item_id": "mug", "title": "Mug", "category": ["Home", "Kitchen"], "price": 4.5}
    assert parse_item(json.dumps(raw).encode()) == parse_item(raw)
    assert category_path(parse_item(raw)) == "Home > Kitchen"


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"item_id": "a\x00"}, "item_id", "without NUL"),
        ({"price": -1}, "price", ">= 0"),
        ({"price": "4,50"}, "price", "expected float"),
        ({"stock": -1}, "stock", ">= 0"),
        ({"category": "Home"}, "category", "expected array"),
        ({"category": ["Home", ""]}, "category[1]", "length >= 1"),
        ({"kind": "gadget"}, "kind", "product, article"),
        ({"available_from": "2026-11-21"}, "available_from", "RFC 3339"),
        ({"colour": "red"}, "colour", "leave it out"),
        ({"title": "\ud800"}, "item", "UTF-8"),
    ],
)
def test_a_bad_item_is_refused_with_its_field_and_a_remedy(
    change: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_item({"item_id": "a", **change})
    assert refused.value.field == field
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b""])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_item(raw)
