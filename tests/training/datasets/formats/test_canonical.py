"""Canonical files in their three layouts."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.events.schema import Event
from recsys.query.profile import Profile
from training.datasets.findings import FoundEvent, FoundItem, FoundProfile, Rejected
from training.datasets.formats.canonical import canonical_kind, read_canonical
from training.datasets.reading import TableFile
from training.datasets.sources import DataFile, ImportOptions, open_source

NOW = datetime(2026, 11, 22, tzinfo=UTC)

EVENTS: list[dict[str, Any]] = [
    {
        "event_id": "e1",
        "event": "purchase",
        "timestamp": "2026-11-21T20:15:00Z",
        "user_id": "u1",
        "items": [{"item_id": "a", "quantity": 2.0, "price": 9.5}, {"item_id": "b"}],
        "transaction_id": "o1",
        "currency": "EUR",
        "consent": {"personalization": True, "analytics": False},
        "context": {"country": "NL", "hour": 20},
    },
    {
        "event_id": "e2",
        "event": "search",
        "timestamp": "2026-11-21T20:16:00+01:00",
        "anonymous_id": "v1",
        "search_term": "red bag",
    },
]


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def events_of(path: Path) -> list[Event]:
    findings = list(read_canonical(TableFile(path), "events"))
    assert all(isinstance(finding, FoundEvent) for finding in findings), findings
    return [finding.event for finding in findings if isinstance(finding, FoundEvent)]


def test_jsonl_compressed_csv_and_parquet_give_the_same_events(tmp_path: Path) -> None:
    from_lines = events_of(write_jsonl(tmp_path / "e.jsonl", EVENTS))
    flat = [
        {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in event.items()}
        for event in EVENTS
    ]
    columns = dict.fromkeys(name for event in EVENTS for name in event)
    table = pa.table({name: [event.get(name) for event in EVENTS] for name in columns})
    pq.write_table(table, tmp_path / "e.parquet")
    assert events_of(write_jsonl(tmp_path / "e.jsonl.gz", EVENTS)) == from_lines
    assert events_of(write_csv(tmp_path / "e.csv", flat)) == from_lines
    assert events_of(tmp_path / "e.parquet") == from_lines
    assert [event.event_id for event in from_lines] == ["e1", "e2"]


def test_flat_columns_make_the_only_item_the_context_and_the_consent(tmp_path: Path) -> None:
    row = {
        "event_id": 7,
        "event": "view_item",
        "timestamp": "2026-11-21T20:15:00Z",
        "user_id": 12,
        "item_id": "a",
        "price": "9.50",
        "index": "3",
        "country": "NL",
        "context.device": "mobile",
        "consent.personalization": "true",
    }
    (event,) = events_of(write_csv(tmp_path / "e.csv", [row]))
    pq.write_table(
        pa.Table.from_pylist([{**row, "price": 9.5, "index": 3}]), tmp_path / "e.parquet"
    )
    assert events_of(tmp_path / "e.parquet") == [event]
    assert (event.event_id, event.user_id) == ("7", "12")
    assert (event.items[0].price, event.items[0].index) == (9.5, 3)
    assert event.personalization
    assert event.context is not None
    assert (event.context.country, event.context.device) == ("NL", "mobile")


def test_an_item_row_has_its_category_as_a_path_or_as_json(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "items.csv",
        [
            {"item_id": "a", "category": "Home > Mugs", "price": "3", "attributes.size": "L"},
            {"item_id": "b", "category": '["Home"]', "withdrawn": "true", "stock": "0"},
        ],
    )
    findings = read_canonical(TableFile(path), "items")
    items = [finding.item for finding in findings if isinstance(finding, FoundItem)]
    assert items == [
        Item(item_id="a", category=["Home", "Mugs"], price=3.0, attributes={"size": "L"}),
        Item(item_id="b", category=["Home"], withdrawn=True, stock=0.0),
    ]


def test_a_profile_row_has_country_group_account_and_traits(tmp_path: Path) -> None:
    row = {"user_id": "u1", "country": "NL", "customer_group": "trade", "account_id": "acme"}
    path = write_csv(tmp_path / "p.csv", [{**row, "traits.size": "L"}])
    assert list(read_canonical(TableFile(path), "profiles")) == [
        FoundProfile(2, Profile(**row, traits={"size": "L"}))
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"items": [{"item_id": "a", "price": -1}]}, r"items\[0\]\.price is -1; expected"),
        ({"event": "buy"}, "event is 'buy'; use one of "),
        ({"timestamp": "21-11-2026"}, "timestamp is '21-11-2026'; send an RFC 3339 time"),
        ({"user_id": "a\x00"}, r"user_id is 'a\\x00'; send text without NUL"),
        ({"colour": "red"}, "colour is 'red'; there is no such field"),
    ],
)
def test_a_line_that_breaks_the_schema_is_rejected_with_field_value_and_remedy(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = write_jsonl(tmp_path / "e.jsonl", [EVENTS[0], {**EVENTS[0], **change}])
    first, second = read_canonical(TableFile(path), "events")
    assert isinstance(first, FoundEvent)
    assert isinstance(second, Rejected)
    assert second.line == 2
    assert json.loads(second.raw) == {**EVENTS[0], **change}
    assert re.search(reason, second.reason)


@pytest.mark.parametrize(
    "text", [b"[1]", b"null", b"{", b"\xff", b'{"event_id": ' + b"[" * 100_000, b"e1,purchase"]
)
def test_a_line_that_is_no_json_object_is_rejected_and_the_next_is_read(
    tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(text + b"\n" + json.dumps(EVENTS[0]).encode())
    first, second = read_canonical(TableFile(path), "events")
    assert isinstance(first, Rejected)
    assert isinstance(second, FoundEvent)
    assert open_source(DataFile(path, "events"), ImportOptions(), at=NOW).contents == "events"


@pytest.mark.parametrize("price", ["cheap", "nan", "inf", "-1"])
def test_a_csv_price_that_is_none_is_rejected_by_name(tmp_path: Path, price: str) -> None:
    row = {"item_id": "a", "price": price}
    (finding,) = read_canonical(TableFile(write_csv(tmp_path / "i.csv", [row])), "items")
    assert isinstance(finding, Rejected)
    assert finding.reason.startswith("price is ")


def test_what_a_file_holds_is_recognised_by_its_columns(tmp_path: Path) -> None:
    assert canonical_kind(("event_id", "event", "timestamp", "user_id", "item_id")) == "events"
    assert canonical_kind(("item_id", "title", "price")) == "items"
    assert canonical_kind(("user_id", "country")) == "profiles"
    assert canonical_kind(("user_id", "item_id", "timestamp")) is None
    path = write_jsonl(tmp_path / "x.jsonl", EVENTS)
    assert open_source(DataFile(path), ImportOptions(), at=NOW).name == "canonical events"


def test_a_file_of_no_known_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", [{"wer": "u1", "was": "a"}])
    with pytest.raises(InvalidInput, match=r"x.csv: columns is 'wer, was'.*--mapping"):
        open_source(DataFile(path), ImportOptions(), at=NOW)
    with pytest.raises(InvalidInput, match="event_id, event and timestamp"):
        open_source(DataFile(path), ImportOptions(format="canonical"), at=NOW)
    with pytest.raises(InvalidInput, match="Online Retail has InvoiceNo"):
        open_source(DataFile(path), ImportOptions(format="online-retail"), at=NOW)
    with pytest.raises(InvalidInput, match="--mapping FILE"):
        open_source(DataFile(path), ImportOptions(format="csv"), at=NOW)
