"""Invoices as purchases, on a small table with every kind of dirt of the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from recsys.catalog.items import Item
from recsys.events.schema import Event
from recsys.query.profile import Profile
from training.datasets.findings import (
    Finding,
    FoundEvent,
    FoundItem,
    FoundProfile,
    KeptOut,
    Rejected,
)
from training.datasets.formats.online_retail import read_online_retail
from training.datasets.formats.retail_lines import Protocol
from training.datasets.reading import TableFile

BAG: Mapping[str, Any] = {
    "InvoiceNo": "536365",
    "StockCode": "85099B",
    "Description": "JUMBO BAG RED RETROSPOT",
    "Quantity": 6,
    "InvoiceDate": "2010-12-01 08:26:00",
    "UnitPrice": 1.95,
    "CustomerID": 17850.0,
    "Country": "United Kingdom",
}


def line(**change: Any) -> dict[str, Any]:
    return {**BAG, **change}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def findings_of(
    folder: Path, lines: Sequence[Mapping[str, Any]], protocol: Protocol = "shop"
) -> list[Finding]:
    table = pa.table({name: [row[name] for row in lines] for name in BAG})
    pq.write_table(table, folder / "retail.parquet")
    return list(read_online_retail(TableFile(folder / "retail.parquet"), protocol))


def events(findings: Sequence[Finding]) -> list[Event]:
    return [finding.event for finding in findings if isinstance(finding, FoundEvent)]


def kept_out(findings: Sequence[Finding]) -> Counter[str]:
    return Counter(finding.reason for finding in findings if isinstance(finding, KeptOut))


def test_an_invoice_is_one_purchase_with_its_distinct_items(folder: Path) -> None:
    mug = line(StockCode="22386", UnitPrice=2.0)
    (event,) = events(findings_of(folder, [line(), mug, line(Quantity=4)]))
    assert (event.event_id, event.transaction_id) == ("536365", "536365")
    assert (event.event, event.user_id, event.currency) == ("purchase", "17850", "GBP")
    assert event.timestamp == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert [(i.item_id, i.quantity, i.price) for i in event.items] == [
        ("85099B", 10.0, 1.95),
        ("22386", 6.0, 2.0),
    ]
    assert event.context is not None
    assert event.context.country == "United Kingdom"


def test_a_repeated_line_counts_once(folder: Path) -> None:
    findings = findings_of(folder, [line(), line(), line(Quantity=1)])
    assert events(findings)[0].items[0].quantity == 7.0
    assert kept_out(findings) == {"duplicate line": 1}


def test_two_prices_of_one_item_leave_what_was_paid_as_it_is(folder: Path) -> None:
    (event,) = events(findings_of(folder, [line(Quantity=1, UnitPrice=4.0), line(Quantity=3)]))
    (item,) = event.items
    assert item.price is not None
    assert item.quantity * item.price == pytest.approx(4.0 + 3 * 1.95)


def test_a_cancellation_is_a_refund(folder: Path) -> None:
    (event,) = events(findings_of(folder, [line(InvoiceNo="C536379", Quantity=-2)]))
    assert (event.event_id, event.event, event.user_id) == ("C536379", "refund", "17850")
    assert event.items[0].quantity == 2.0


def test_a_missing_customer_makes_nobodys_basket(folder: Path) -> None:
    (event,) = events(findings_of(folder, [line(CustomerID=None), line(StockCode="22386")][:1]))
    assert event.person.key is None
    assert event.consent is None
    assert event.transaction_id == "536365"


@pytest.mark.parametrize(
    "code",
    [
        *("POST", "DOT", "M", "m", "BANK CHARGES", "AMAZONFEE", "D", "S", "CRUK", "C2", "PADS"),
        *("gift_0001_10", "TEST001", "ADJUST2", "23444"),
    ],
)
def test_postage_fees_vouchers_and_corrections_are_kept_out(folder: Path, code: str) -> None:
    findings = findings_of(folder, [line(StockCode=code), line()])
    assert [item.item_id for item in events(findings)[0].items] == ["85099B"]
    assert kept_out(findings) == {"not a product": 1}


def test_lines_without_a_price_are_kept_out(folder: Path) -> None:
    findings = findings_of(folder, [line(UnitPrice=0.0), line(UnitPrice=-5.0), line(InvoiceNo="2")])
    assert [event.event_id for event in events(findings)] == ["2"]
    assert kept_out(findings) == {"price not above zero": 2}


def test_codes_that_differ_in_case_are_one_product(folder: Path) -> None:
    (event,) = events(findings_of(folder, [line(StockCode="85099b"), line()]))
    assert [(item.item_id, item.quantity) for item in event.items] == [("85099B", 6.0)]


def test_an_invoice_in_two_places_of_the_file_is_one_event_at_its_first_time(folder: Path) -> None:
    later = line(StockCode="22386", InvoiceDate="2010-12-01 08:27:00")
    findings = findings_of(folder, [line(), line(InvoiceNo="536366"), later])
    first, second = events(findings)
    assert (first.event_id, second.event_id) == ("536366", "536365")
    assert len(second.items) == 2
    assert second.timestamp.minute == 26


def test_an_invoice_longer_than_an_event_goes_on_in_a_second_one(folder: Path) -> None:
    lines = [line(StockCode=f"9{number:04}") for number in range(1_001)]
    first, second = events(findings_of(folder, lines))
    assert (first.event_id, second.event_id) == ("536365", "536365#2")
    assert (len(first.items), len(second.items)) == (1_000, 1)
    assert first.transaction_id == second.transaction_id == "536365"


def test_a_line_of_another_customer_in_an_invoice_is_rejected(folder: Path) -> None:
    findings = findings_of(folder, [line(), line(StockCode="22386", CustomerID=12345.0)])
    (rejected,) = [finding for finding in findings if isinstance(finding, Rejected)]
    assert rejected.line == 2
    assert "CustomerID is '12345'; invoice 536365 is already" in rejected.reason
    assert [item.item_id for item in events(findings)[0].items] == ["85099B"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Quantity": None}, "Quantity is None; give a number"),
        ({"InvoiceDate": "yesterday"}, "InvoiceDate is 'yesterday'; write it as"),
        ({"CustomerID": 1.5}, "CustomerID is '1.5'; give a whole number"),
        ({"StockCode": ""}, "StockCode is ''; this column is required"),
        ({"StockCode": "a" * 129}, "items[0].item_id is"),
    ],
)
def test_a_line_that_cannot_be_read_is_rejected_with_column_value_and_remedy(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    findings = findings_of(folder, [line(**{"InvoiceNo": "1", **change}), line()])
    (rejected,) = [finding for finding in findings if isinstance(finding, Rejected)]
    assert rejected.line == 1
    assert rejected.reason.startswith(reason)
    assert [event.event_id for event in events(findings)] == ["536365"]


def test_the_catalogue_has_the_usual_title_the_median_price_and_the_first_day(folder: Path) -> None:
    change = {"Description": "wrong", "UnitPrice": 100.0, "InvoiceDate": "2010-11-30 09:00:00"}
    lines = [line(**change), line(InvoiceNo="2", Description=" JUMBO  BAG RED RETROSPOT")]
    findings = findings_of(folder, [*lines, line(InvoiceNo="3", UnitPrice=2.05)])
    (item,) = [finding for finding in findings if isinstance(finding, FoundItem)]
    assert item.item == Item(
        item_id="85099B",
        title="JUMBO BAG RED RETROSPOT",
        price=2.05,
        available_from=datetime(2010, 11, 30, tzinfo=UTC),
    )
    assert not item.declared


def test_a_customer_has_the_country_of_the_newest_invoice(folder: Path) -> None:
    newest = line(InvoiceNo="2", Country="France", InvoiceDate="2011-01-01 00:00:00")
    nowhere = line(InvoiceNo="3", Country="Unspecified", InvoiceDate="2011-02-01 00:00:00")
    findings = findings_of(folder, [newest, line(), nowhere])
    assert [finding.profile for finding in findings if isinstance(finding, FoundProfile)] == [
        Profile(user_id="17850", country="France")
    ]


def test_the_anchor_protocol_takes_the_clean_purchases_and_nothing_else(folder: Path) -> None:
    lines = [
        line(StockCode="85099b"),
        line(StockCode="POST"),
        line(UnitPrice=0.0),
        line(InvoiceNo="C1", Quantity=-1),
        line(InvoiceNo="2", CustomerID=None),
    ]
    findings = findings_of(folder, lines, "anchor")
    (event,) = events(findings)
    assert [item.item_id for item in event.items] == ["85099b", "POST"]
    assert kept_out(findings) == {
        "price not above zero": 1,
        "cancellation (protocol anchor)": 1,
        "no customer (protocol anchor)": 1,
    }


def test_csv_with_american_dates_gives_the_same_as_parquet(folder: Path) -> None:
    lines = [line(), line(InvoiceNo="2", CustomerID=None)]
    from_parquet = findings_of(folder, lines)
    american = [{**row, "InvoiceDate": "12/1/2010 8:26"} for row in lines]
    table = pa.table({name: [row[name] for row in american] for name in BAG})
    pyarrow.csv.write_csv(table, folder / "retail.csv")
    from_csv = list(read_online_retail(TableFile(folder / "retail.csv"), "shop"))
    assert events(from_csv) == events(from_parquet)
