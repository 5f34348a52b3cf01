"""Google Merchant Center feeds as catalogue: XML (RSS 2.0 or Atom) and tab-separated text.

`id` is the item, `item_group_id` what it is a variant of, `product_type` (else the words of
`google_product_category`) its category, `availability` its stock. `sale_price` is the price while
its dates hold, and `price` then the list price. What else a product has becomes attributes, but
for descriptions, links and nested groups (shipping, tax), which are not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from recsys.catalog.items import parse_item
from recsys.errors import InvalidInput
from training.datasets.findings import Finding, FoundItem, Rejected
from training.datasets.formats.xml_feed import XMLFeed
from training.datasets.reading import FileRow, TableFile, Unreadable

Fields = Mapping[str, list[str]]
"""Field name without namespace → its values; most fields have one."""

_USED: Final = frozenset(
    {
        "id",
        "title",
        "product_type",
        "google_product_category",
        "brand",
        "price",
        "sale_price",
        "sale_price_effective_date",
        "availability",
        "item_group_id",
        "expiration_date",
        "quantity",
        "sell_on_google_quantity",
    }
)
_NOT_KEPT: Final = re.compile(r"description|summary|content|.*link(_\d+)?|shipping.*|tax.*|updated")
_PRICE: Final = re.compile(r"(?:[A-Z]{3}\s*)?(\d[\d.,' ]*?)\s*(?:[A-Z]{3})?")


def read_merchant(feed: TableFile | XMLFeed, *, at: datetime) -> Iterator[Finding]:
    """Every product of the feed as an item of the catalogue, its prices as they are `at`."""
    for row in feed:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        try:
            yield FoundItem(parse_item(_item(_fields(row), at)))
        except InvalidInput as error:
            yield Rejected.of(row, error)


def is_merchant(columns: tuple[str, ...]) -> bool:
    """Whether a table with these columns is a feed."""
    names = {_name(column) for column in columns}
    return {"id", "title"} <= names and bool(names & {"link", "availability", "product_type"})


def _item(fields: Fields, at: datetime) -> dict[str, Any]:
    id, expires = _one(fields, "id"), _one(fields, "expiration_date")
    if id is None:
        raise InvalidInput("id", None, "every product of a feed has an id")
    item = {
        "item_id": id,
        "title": (_one(fields, "title") or "")[:512],
        "category": _category(fields),
        "brand": _cut(_one(fields, "brand")),
        **_prices(fields, at),
        "stock": _stock(fields),
        "available_until": None if expires is None else _moment("expiration_date", expires),
        "variant_of": _one(fields, "item_group_id"),
        "attributes": _attributes(fields),
    }
    return {name: value for name, value in item.items() if value is not None}


def _prices(fields: Fields, at: datetime) -> dict[str, float]:
    price, sale = _price(fields, "price"), _price(fields, "sale_price")
    if sale is None or not _on_sale(fields, at):
        return {} if price is None else {"price": price}
    return {"price": sale} if price is None else {"price": sale, "list_price": price}


def _price(fields: Fields, name: str) -> float | None:
    """The number of `9.95 EUR`; also with a comma, and with signs between thousands."""
    text = _one(fields, name)
    if text is None:
        return None
    match = _PRICE.fullmatch(text)
    if match is None:
        raise InvalidInput(name, text, "write it as 9.95 EUR")
    return _number(match[1])


def _number(text: str) -> float:
    """A separator before one or two final digits is the decimal one, and so is a single point."""
    digits = text.replace(" ", "").replace("'", "")
    last = max(digits.rfind("."), digits.rfind(","))
    sign, cents = digits[last], digits[last + 1 :]
    alone = last >= 0 and digits.count(sign) == 1
    if alone and (sign == "." or len(cents) in (1, 2) or "." in digits):
        return float(f"{re.sub('[.,]', '', digits[:last])}.{cents}")
    return float(re.sub("[.,]", "", digits))


def _on_sale(fields: Fields, at: datetime) -> bool:
    dates = _one(fields, "sale_price_effective_date")
    if dates is None:
        return True
    first, slash, last = dates.partition("/")
    name = "sale_price_effective_date"
    if not slash:
        raise InvalidInput(name, dates, "write two times with a slash between them")
    return _moment(name, first) <= at <= _moment(name, last)


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInput(name, text, "write it as 2026-11-21T20:15:00+0100") from error
    if moment.tzinfo is None:
        raise InvalidInput(name, text, "give the time with its zone, such as +0100")
    return moment


def _stock(fields: Fields) -> float | None:
    """0 where it is not available, the quantity where the feed has one, else None (not counted)."""
    availability = (_one(fields, "availability") or "in_stock").lower().replace(" ", "_")
    if availability not in ("in_stock", "preorder", "backorder", "out_of_stock"):
        raise InvalidInput(
            "availability", availability, "use in_stock, out_of_stock, preorder or backorder"
        )
    quantity = _one(fields, "quantity") or _one(fields, "sell_on_google_quantity")
    if availability == "out_of_stock":
        return 0.0
    if quantity is None or availability != "in_stock":
        return None
    try:
        return float(quantity)
    except ValueError as error:
        raise InvalidInput("quantity", quantity, "write a number") from error


def _category(fields: Fields) -> list[str]:
    path = _one(fields, "product_type") or _one(fields, "google_product_category") or ""
    if path.isdigit():  # a number of Google's taxonomy says nothing of the shop's own
        return []
    steps = [step.strip()[:64] for step in re.split(r"\s*>\s*|\s+/\s+", path)]
    return [step for step in steps if step][:10]


def _attributes(fields: Fields) -> dict[str, str | list[str]]:
    attributes: dict[str, str | list[str]] = {}
    for name, values in fields.items():
        if name in _USED or _NOT_KEPT.fullmatch(name) or len(name) > 64:
            continue
        cut = [value[:64] for value in values if value]
        if len(cut) > 1:
            attributes[name] = cut
        elif cut:
            attributes[name] = values[0][:512]
    return attributes


def _fields(row: FileRow) -> Fields:
    fields: dict[str, list[str]] = {}
    for column, cell in row.content.items() if isinstance(row.content, Mapping) else ():
        cells = cell if isinstance(cell, list) else [cell]
        values = [" ".join(str(value).split()) for value in cells]
        fields.setdefault(_name(column), []).extend(value for value in values if value)
    return fields


def _name(column: str) -> str:
    return column.strip().lower().removeprefix("g:").replace(" ", "_")


def _one(fields: Fields, name: str) -> str | None:
    values = fields.get(name)
    return values[0] if values else None


def _cut(text: str | None) -> str | None:
    return text and text[:64]
