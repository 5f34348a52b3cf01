"""Google Merchant Center feeds become the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.store.sqlite import SQLiteStore
from training.datasets import ImportSummary
from training.datasets.formats.merchant_feed import _number

BringIn = Callable[..., ImportSummary]
G = 'xmlns:g="http://base.google.com/ns/1.0"'
RSS = f"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" {G}><channel>
<title>A shop</title><link>https://shop.example</link><description>d</description>
<item>
  <g:id>sku-1</g:id><title>Coffee mug &amp; lid</title><g:description>Long</g:description>
  <g:link>https://shop.example/1</g:link>
  <g:product_type>Home &gt; Kitchen &gt; Mugs</g:product_type>
  <g:google_product_category>2169</g:google_product_category>
  <g:brand>Harbour</g:brand><g:price>12.50 EUR</g:price><g:sale_price>9.95 EUR</g:sale_price>
  <g:sale_price_effective_date>2026-11-01T00:00+0100/2026-11-30T00:00+0100</g:sale_price_effective_date>
  <g:availability>in_stock</g:availability><g:item_group_id>mugs</g:item_group_id>
  <g:condition>new</g:condition><g:custom_label_0>summer</g:custom_label_0>
  <g:shipping><g:country>NL</g:country><g:price>3.00 EUR</g:price></g:shipping>
  <g:size>L</g:size><g:product_highlight>Big</g:product_highlight>
  <g:product_highlight>Blue</g:product_highlight>
</item>
<item><g:id>sku-2</g:id><title>Old mug</title><g:price>5 EUR</g:price>
  <g:sale_price>4 EUR</g:sale_price>
  <g:sale_price_effective_date>2025-01-01T00:00+0100/2025-01-31T00:00+0100</g:sale_price_effective_date>
  <g:availability>out of stock</g:availability></item>
<item><title>No id</title></item>
<item><g:id>sku-3</g:id><g:price>cheap</g:price></item>
</channel></rss>"""

ATOM = f"""<feed xmlns="http://www.w3.org/2005/Atom" {G}>
<title>A shop</title>
<entry><id>https://shop.example/9</id><g:id>sku-9</g:id><title>Tea</title>
<link href="https://shop.example/9"/><g:price>3.00 EUR</g:price>
<g:availability>preorder</g:availability>
<g:expiration_date>2027-01-01T00:00:00+0100</g:expiration_date></entry></feed>"""

TSV = (
    "id\ttitle\tlink\tavailability\tprice\tgoogle product category\tquantity\n"
    'sku-7\t12" plate\thttps://x.example\tin stock\t1,299.00 USD\tHome & Garden > Plates\t4\n'
)


def items(store: SQLiteStore) -> dict[str, Item]:
    return {item.item_id: item for item in store.items()}


def test_an_rss_feed_is_the_catalogue(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(RSS)
    (summary,) = bring_in(path, "items", format="merchant").files
    assert (summary.source, summary.rows, summary.rejected) == ("merchant feed", 4, 2)
    assert summary.rejected_examples[0].startswith("line 21: id is None")
    stored = items(store)
    assert stored["sku-1"] == Item(
        item_id="sku-1",
        title="Coffee mug & lid",
        category=["Home", "Kitchen", "Mugs"],
        brand="Harbour",
        price=9.95,
        list_price=12.5,
        variant_of="mugs",
        attributes={
            "condition": "new",
            "custom_label_0": "summer",
            "size": "L",
            "product_highlight": ["Big", "Blue"],
        },
    )
    second = stored["sku-2"]
    assert (second.price, second.list_price, second.stock) == (5, None, 0)


def test_an_atom_feed_is_one_too_and_googles_id_goes_before_atoms(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(ATOM)
    bring_in(path)
    (item,) = store.items()
    assert (item.item_id, item.stock, item.attributes) == ("sku-9", None, {})
    assert item.available_until == datetime(2026, 12, 31, 23, tzinfo=UTC)


def test_a_tab_separated_feed_is_known_by_its_columns(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    path = tmp_path / "feed.tsv"
    path.write_text(TSV)
    bring_in(path)
    assert items(store)["sku-7"] == Item(
        item_id="sku-7",
        title='12" plate',
        category=["Home & Garden", "Plates"],
        price=1299.0,
        stock=4,
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9.95", 9.95),
        ("9,95", 9.95),
        ("1299", 1299),
        ("1,299", 1299),
        ("1,299.00", 1299),
        ("1.299,00", 1299),
        ("1 299,50", 1299.5),
        ("1.299.000", 1299000),
        ("9.950", 9.95),
    ],
)
def test_prices_are_read_as_they_are_written(text: str, number: float) -> None:
    assert _number(text) == number


BILLION_LAUGHS = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><channel><item><id>&b;</id></item></channel></rss>"""
FILE_READER = """<?xml version="1.0"?><!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<rss><channel><item><id>&x;</id></item></channel></rss>"""


@pytest.mark.parametrize("text", [BILLION_LAUGHS, FILE_READER])
def test_a_feed_that_declares_entities_is_refused_unread(
    text: str, tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="DOCTYPE"):
        bring_in(path)
    assert store.items() == []


@pytest.mark.parametrize("text", ["", "<rss><channel><item>", "no xml", "<a>\x00</a>"])
def test_a_damaged_feed_is_refused(text: str, tmp_path: Path, bring_in: BringIn) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="well-formed"):
        bring_in(path)


def test_one_product_cannot_fill_the_memory(tmp_path: Path, bring_in: BringIn) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(f"<rss><channel><item><id>{'x' * 1_100_000}</id></item></channel></rss>")
    with pytest.raises(InvalidInput, match="characters"):
        bring_in(path)
