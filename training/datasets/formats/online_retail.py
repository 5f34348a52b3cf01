"""UCI Online Retail: an invoice becomes one purchase, a cancellation one refund.

D. Chen (2015), Online Retail, UCI Machine Learning Repository, data set 352. The dates have no
zone and are taken as UTC; prices are pounds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from statistics import median
from typing import Final

from recsys.catalog.items import parse_item
from recsys.errors import InvalidInput
from recsys.events.schema import parse_event
from recsys.query.profile import Profile
from training.datasets.findings import (
    Finding,
    FoundEvent,
    FoundItem,
    FoundProfile,
    KeptOut,
    Rejected,
)
from training.datasets.formats.retail_lines import (
    Protocol,
    RetailLine,
    parse_line,
    reason_to_keep_out,
)
from training.datasets.reading import FileRow, TableFile, Unreadable

ITEMS_PER_EVENT: Final = 1_000
"""The most that an event may hold; a longer invoice goes on in a second event."""


@dataclass(slots=True)
class _Invoice:
    """An invoice that is being read: its distinct lines and their row numbers."""

    rows: dict[RetailLine, FileRow] = field(default_factory=dict)
    customer: str | None = None


def read_online_retail(table: TableFile, protocol: Protocol) -> Iterator[Finding]:
    """Purchases and refunds in the order in which invoices end, then the catalogue, then profiles.

    The file is read twice: an invoice is complete at its last line, wherever in the file that is,
    so that only open invoices are in memory.
    """
    last_line = table.last_lines("InvoiceNo")
    open_invoices: defaultdict[object, _Invoice] = defaultdict(_Invoice)
    shop = _Shop()
    for row in table:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        number = _invoice_cell(row)
        invoice = open_invoices[number]
        yield from _take(row, invoice, protocol)
        if last_line[number] == row.line:
            del open_invoices[number]
            findings = list(_events(invoice))
            yield from findings
            if all(isinstance(finding, FoundEvent) for finding in findings):
                shop.learn(invoice)
    yield from shop.findings()


def _take(row: FileRow, invoice: _Invoice, protocol: Protocol) -> Iterator[Finding]:
    try:
        line = parse_line(row, protocol)
    except InvalidInput as error:
        yield Rejected.of(row, error)
        return
    reason = reason_to_keep_out(line, protocol)
    if reason is not None:
        yield KeptOut(reason)
    elif line in invoice.rows:
        yield KeptOut("duplicate line")
    elif None not in (line.customer, invoice.customer) and line.customer != invoice.customer:
        yield Rejected.of(
            row,
            InvalidInput(
                "CustomerID", line.customer, f"invoice {line.invoice} is already another customer's"
            ),
        )
    else:
        invoice.rows[line] = row
        invoice.customer = invoice.customer or line.customer


def _events(invoice: _Invoice) -> Iterator[Finding]:
    """One event, or several where the invoice is longer than an event may be."""
    if not invoice.rows:
        return
    lines_of: dict[str, list[RetailLine]] = defaultdict(list)
    for line in invoice.rows:
        lines_of[line.code].append(line)
    items = [_item(code, lines) for code, lines in lines_of.items()]
    first, first_row = next(iter(invoice.rows.items()))
    for part, start in enumerate(range(0, len(items), ITEMS_PER_EVENT), start=1):
        event = {
            "event_id": first.invoice if part == 1 else f"{first.invoice}#{part}",
            "event": "refund" if first.cancels else "purchase",
            "timestamp": min(line.sold_at for line in invoice.rows),
            "user_id": invoice.customer,
            "items": items[start : start + ITEMS_PER_EVENT],
            "transaction_id": first.invoice,
            "currency": "GBP",
            "context": {"country": first.country},
        }
        try:
            yield FoundEvent(first_row.line, parse_event(event))
        except InvalidInput as error:
            yield Rejected(first_row.line, str(error), first_row.raw, lines=len(invoice.rows))


def _item(code: str, lines: Sequence[RetailLine]) -> dict[str, object]:
    """Quantities summed; the price is their mean, so that quantity · price is what was paid."""
    prices = {line.price for line in lines}
    quantity = sum(abs(line.quantity) for line in lines)
    turnover = sum(abs(line.quantity) * line.price for line in lines)
    price = prices.pop() if len(prices) == 1 else round(turnover / quantity, 4)
    return {"item_id": code, "quantity": quantity, "price": price}


class _Shop:
    """Catalogue and profiles derived from the purchases; memory grows with these alone."""

    def __init__(self) -> None:
        self._titles: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._prices: defaultdict[str, Counter[float]] = defaultdict(Counter)
        self._first_sold: dict[str, tuple[datetime, int]] = {}
        self._countries: dict[str, tuple[datetime, int, str]] = {}

    def learn(self, invoice: _Invoice) -> None:
        for line, row in invoice.rows.items():
            if line.cancels:
                continue
            self._titles[line.code][line.description] += 1
            self._prices[line.code][line.price] += 1
            sold = (line.sold_at, row.line)
            self._first_sold[line.code] = min(self._first_sold.get(line.code, sold), sold)
            if line.customer is not None and line.country is not None:
                here = (*sold, line.country)
                self._countries[line.customer] = max(self._countries.get(line.customer, here), here)

    def findings(self) -> Iterator[Finding]:
        """Title: the most frequent description. Price: the median. On sale since its first day.

        A customer with several countries has the one of the newest invoice.
        """
        for code, titles in sorted(self._titles.items()):
            titles.pop("", None)
            moment, line = self._first_sold[code]
            item = {
                "item_id": code,
                "title": min(titles, key=lambda title: (-titles[title], title), default=""),
                "price": median(self._prices[code].elements()),
                "available_from": datetime.combine(moment, time.min, UTC),
            }
            try:
                yield FoundItem(parse_item(item), declared=False)
            except InvalidInput as error:
                yield Rejected(line, f"catalogue entry {code}: {error}", "", lines=0)
        for customer, (_, line, country) in sorted(self._countries.items()):
            yield FoundProfile(line, Profile(user_id=customer, country=country), declared=False)


def _invoice_cell(row: FileRow) -> object:
    return row.content.get("InvoiceNo") if isinstance(row.content, Mapping) else None
