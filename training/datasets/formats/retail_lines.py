"""One line of an Online Retail invoice: parsing, and which lines are kept out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from recsys.errors import InvalidInput
from training.datasets.reading import FileRow

Protocol = Literal["shop", "anchor"]
"""`shop`: as a shop wants it. `anchor`: the clean purchases on which published figures rest.

Both keep prices at or below zero and repeated lines out. `shop` joins codes that differ only in
case, keeps non-products out, takes cancellations as refunds and keeps baskets without a
customer as anonymous. `anchor` keeps purchases of known customers alone, with the codes as they
stand, postage included.
"""

COLUMNS: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

NOT_PRODUCTS: Final = re.compile(
    r"POST|DOT|M|D|S|B|C2|C3|CRUK|PADS|AMAZONFEE|BANK CHARGES|22016|23444|23595"
    r"|(GIFT|TEST|ADJUST).*"
)
"""Postage, fees, corrections, samples and vouchers.

Three look like products: 22016 is a voucher, 23444 next-day carriage, 23595 an adjustment.
"""

NO_COUNTRY: Final = frozenset({"Unspecified", "European Community"})


class RetailLine(NamedTuple):
    """One line without its row number, so that repeated lines are equal.

    `price` is that of one unit in pounds; `sold_at` is UTC. A tuple, because the file has half a
    million lines and each is hashed.
    """

    invoice: str
    code: str
    description: str
    quantity: float
    sold_at: datetime
    price: float
    customer: str | None
    country: str | None

    @property
    def cancels(self) -> bool:
        """Whether the invoice takes an earlier one back."""
        return self.invoice[:1] in "Cc"


def parse_line(row: FileRow, protocol: Protocol) -> RetailLine:
    """The row's line; InvalidInput names column, value and remedy."""
    cells = row.content
    if not isinstance(cells, Mapping):
        raise InvalidInput("row", row.raw, "give Online Retail as CSV or Parquet")
    code = _text(cells, "StockCode")
    return RetailLine(
        invoice=_text(cells, "InvoiceNo"),
        code=code if protocol == "anchor" else code.strip().upper(),
        description=_one_line(str(cells.get("Description", ""))),
        quantity=_number(cells, "Quantity"),
        sold_at=_time(cells.get("InvoiceDate")),
        price=_number(cells, "UnitPrice"),
        customer=_customer(str(cells.get("CustomerID", ""))),
        country=_country(str(cells.get("Country", ""))),
    )


def reason_to_keep_out(line: RetailLine, protocol: Protocol) -> str | None:
    """Why a valid line is kept out; None where it is not."""
    if protocol == "anchor" and line.customer is None:
        return "no customer (protocol anchor)"
    if protocol == "anchor" and line.cancels:
        return "cancellation (protocol anchor)"
    if protocol == "shop" and NOT_PRODUCTS.fullmatch(line.code):
        return "not a product"
    if line.price <= 0:
        return "price not above zero"
    if not line.cancels and line.quantity <= 0:
        return "stock correction"
    if line.cancels and line.quantity >= 0:
        return "cancellation of nothing"
    return None


def _text(cells: Mapping[str, object], column: str) -> str:
    text = str(cells.get(column, ""))
    if not text.strip():
        raise InvalidInput(column, text, "this column is required")
    return text


def _number(cells: Mapping[str, object], column: str) -> float:
    cell = cells.get(column)
    try:
        number = cell if isinstance(cell, float) else float(str(cell))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(column, cell, "give a number such as 2.55, with a decimal point")
    return number


@lru_cache(maxsize=8_192)
def _one_line(text: str) -> str:
    return " ".join(text.split())


@lru_cache(maxsize=1_024)
def _country(text: str) -> str | None:
    country = text.strip()
    return country if country and country not in NO_COUNTRY else None


@lru_cache(maxsize=1_024)
def _customer(text: str) -> str | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise InvalidInput("CustomerID", text, "give a whole number, or nothing for a stranger")
    return str(int(number))


def _time(cell: object) -> datetime:
    return _in_utc(cell) if isinstance(cell, datetime) else _parse_time(str(cell))


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@lru_cache(maxsize=1_024)
def _parse_time(text: str) -> datetime:
    for pattern in (None, "%m/%d/%Y %H:%M"):
        try:
            return _in_utc(
                datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)
            )
        except ValueError:
            continue
    raise InvalidInput(
        "InvoiceDate", text, "write it as 2010-12-01 08:26:00 or month first, 12/1/2010 8:26"
    )
