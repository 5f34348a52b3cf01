"""REES46 eCommerce behaviour data: its columns, known without a mapping file.

`configs/import-rees46.yaml` says the same, to be copied for files that differ.
"""

from __future__ import annotations

from typing import Final

from training.datasets.formats.mapping import (
    CatalogColumns,
    ColumnMapping,
    EventColumns,
    KindColumn,
    TimeColumn,
)

COLUMNS: Final = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)

REES46: Final = ColumnMapping(
    events=EventColumns(
        kind=KindColumn(
            column="event_type",
            values={
                "view": "view_item",
                "cart": "add_to_cart",
                "remove_from_cart": "remove_from_cart",
                "purchase": "purchase",
            },
        ),
        timestamp=TimeColumn(column="event_time", format="%Y-%m-%d %H:%M:%S UTC"),
        user_id="user_id",
        session_id="user_session",
        item_id="product_id",
        price="price",
    ),
    catalog=CatalogColumns(
        category="category_code", category_separator=".", brand="brand", price="price"
    ),
)
