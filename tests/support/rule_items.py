"""The items that tests of the rule language and of the rule engine share; an id is a row number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from recsys.catalog.items import Item
from recsys.catalog.rules import Rules, Where

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ITEMS = [
    Item(item_id="0", category=["Home", "Kitchen", "Mugs"], brand="Harbour", price=9.0, stock=3),
    Item(item_id="1", category=["Home", "Kitchen"], brand="Harbour", price=19.0),
    Item(item_id="2", category=["Home", "Garden"], brand="Fern", price=29.0, stock=50),
    Item(item_id="3", category=["Homeware"], price=5.0, attributes={"colour": ["red", "blue"]}),
    Item(item_id="4", attributes={"colour": "red", "weight": 2.5, "organic": True}),
    Item(item_id="5", kind="article", attributes={"weight": 1.0, "organic": False}),
    Item(item_id="6", kind="banner", variant_of="lost"),
    Item(item_id="7", brand="Fern", variant_of="2"),
    Item(item_id="8", brand="Fern", variant_of="2", price=1.0),
    Item(item_id="9", variant_of="lost"),
]


def where(**fields: Any) -> Where:
    return msgspec.convert(fields, Where)


def rules(**fields: Any) -> Rules:
    return msgspec.convert(fields, Rules)
