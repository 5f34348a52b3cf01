"""Exports of GA4 and Segment, and REES46 files, are imported as they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import InvalidInput
from recsys.store.sqlite import SQLiteStore
from training.datasets import ImportSummary
from training.datasets.consent import ConsentMissing
from training.datasets.formats.mapping import read_mapping
from training.datasets.formats.rees46 import COLUMNS, REES46

BringIn = Callable[..., ImportSummary]
LogRows = Callable[[str], list[tuple[Any, ...]]]
CONFIGS = Path(__file__).resolve().parents[4] / "configs"


def ga4_row(name: str, n: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "event_date": "20260103",
        "event_timestamp": str(1767441600000000 + n),
        "event_name": name,
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": "5"}},
            {"key": "consent_choice", "value": {"string_value": "all"}},
        ],
        "user_id": None,
        "user_pseudo_id": "1234.5678",
        "items": [
            {
                "item_id": "sku-1",
                "item_name": "Coffee  mug",
                "item_brand": "Harbour",
                "item_category": "Home",
                "item_category2": "Mugs",
                "price": 9.95,
                "quantity": "1",
            }
        ],
        **fields,
    }


ROWS = [
    ga4_row("view_item"),
    ga4_row("purchase", 1, ecommerce={"transaction_id": "T1"}),
    ga4_row("session_start", 2),
    ga4_row("scroll", 3),
    ga4_row("add_to_cart", 4, items=[]),
    ga4_row("view_item", 5, privacy_info={"analytics_storage": "No"}),
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_an_export_of_json_lines_comes_in_with_its_catalogue(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    path = write_lines(tmp_path / "events.json.gz", ROWS)
    (summary,) = bring_in(path, mapping=CONFIGS / "import-ga4.yaml", format="ga4").files
    assert (summary.source, summary.events, summary.rejected) == ("GA4 export", 3, 1)
    assert sum(summary.kept_out.values()) == 2
    assert "items" in summary.rejected_examples[0]
    assert log_rows("kind, anonymous_id, item_id, transaction_id") == [
        ("purchase", "1234.5678", "sku-1", "T1"),
        ("view_item", "1234.5678", "sku-1", None),
        ("view_item", None, "sku-1", None),
    ]
    (item,) = store.items()
    assert (item.title, item.brand, item.category, item.price) == (
        "Coffee mug",
        "Harbour",
        ["Home", "Mugs"],
        9.95,
    )
    again = bring_in(path, mapping=CONFIGS / "import-ga4.yaml", format="ga4").files[0]
    assert (again.events, again.duplicates) == (0, 3)


def test_an_export_in_parquet_is_the_same_also_with_wrapped_lists(
    tmp_path: Path, bring_in: BringIn, log_rows: LogRows
) -> None:
    plain = [{**row, "event_timestamp": int(row["event_timestamp"])} for row in ROWS[:2]]
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "plain.parquet")
    wrapped = [
        {
            **row,
            "event_params": {"list": [{"element": entry} for entry in row["event_params"]]},
            "items": {"list": [{"element": entry} for entry in row["items"]]},
        }
        for row in plain
    ]
    pq.write_table(pa.Table.from_pylist(wrapped), tmp_path / "wrapped.parquet")
    assert bring_in(tmp_path / "plain.parquet", consent="assumed").files[0].events == 2
    again = bring_in(tmp_path / "wrapped.parquet", consent="assumed").files[0]
    assert (again.events, again.duplicates) == (0, 2)
    assert log_rows("kind, session_id") == [
        ("purchase", "1234.5678.5"),
        ("view_item", "1234.5678.5"),
    ]


def test_an_export_says_nothing_of_consent_and_is_refused_until_somebody_does(
    tmp_path: Path, bring_in: BringIn
) -> None:
    with pytest.raises(ConsentMissing):
        bring_in(write_lines(tmp_path / "events.jsonl", ROWS[:1]))


def test_a_misspelt_option_of_an_export_is_named(tmp_path: Path, bring_in: BringIn) -> None:
    options = tmp_path / "options.yaml"
    options.write_text("ignored: [scroll]")
    with pytest.raises(InvalidInput, match="ignored"):
        bring_in(write_lines(tmp_path / "e.jsonl", ROWS[:1]), format="ga4", mapping=options)


def test_segment_messages_come_in_with_the_consent_that_they_carry(
    tmp_path: Path, bring_in: BringIn, log_rows: LogRows
) -> None:
    def message(n: int, **fields: Any) -> dict[str, Any]:
        return {
            "type": "track",
            "event": "Product Viewed",
            "messageId": f"m-{n}",
            "anonymousId": "a-1",
            "timestamp": "2026-01-03T12:00:00Z",
            "properties": {"product_id": "sku-1"},
            "context": {"consent": {"categoryPreferences": {"Advertising": True}}},
            **fields,
        }

    rows = [message(0), message(1, type="group"), message(2, timestamp=None)]
    (summary,) = bring_in(write_lines(tmp_path / "m.jsonl", rows)).files
    assert (summary.source, summary.events, summary.rejected) == ("Segment messages", 1, 1)
    assert log_rows("event_id, anonymous_id, item_id") == [("m-0", "a-1", "sku-1")]


def test_rees46_is_known_by_its_columns_and_its_mapping_file_says_the_same(
    tmp_path: Path, bring_in: BringIn, log_rows: LogRows
) -> None:
    assert read_mapping(CONFIGS / "import-rees46.yaml") == REES46
    path = tmp_path / "2019-Oct.csv"
    row = "2019-10-01 00:00:00 UTC,cart,1,2,home.mugs,acme,9.95,7,s-1"
    path.write_text(",".join(COLUMNS) + "\n" + row + "\n")
    assert bring_in(path, consent="assumed").files[0].events == 1
    assert log_rows("kind, user_id, session_id, price") == [("add_to_cart", "7", "s-1", 9.95)]


def test_the_shared_slice_of_rees46_comes_in(shared_data: Path, bring_in: BringIn) -> None:
    path = shared_data / "rees46" / "2019-Oct-slice.csv.gz"
    (summary,) = bring_in(path, format="rees46", consent="assumed").files
    assert summary.events > 17_000
    assert summary.rejected <= 1  # the slice ends in the middle of a line
