"""Any table by a column mapping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.catalog.items import Item
from recsys.errors import InvalidConfig
from recsys.events.schema import Event
from recsys.store.sqlite import SQLiteStore
from training.datasets import ConsentMissing, ImportSummary
from training.datasets.findings import Finding, FoundEvent, FoundItem, KeptOut, Rejected
from training.datasets.formats.mapped import read_mapped
from training.datasets.formats.mapping import (
    CatalogColumns,
    ColumnMapping,
    ConsentColumn,
    EventColumns,
    KindColumn,
    TimeColumn,
    read_mapping,
)
from training.datasets.reading import TableFile

BringIn = Callable[..., ImportSummary]
LogRows = Callable[[str], list[tuple[Any, ...]]]

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
EVENTS: dict[str, Any] = {
    "kind": {"column": "what", "values": {"buy": "purchase", "ping": "ignore"}},
    "timestamp": {"column": "when", "zone": "Europe/Amsterdam"},
    "user_id": "who",
    "item_id": "sku",
}
HEADER = "what,when,who,sku,paid\n"


def findings_of(folder: Path, rows: str, **change: Any) -> list[Finding]:
    (folder / "t.csv").write_text(HEADER + rows)
    sections = {"events": {**EVENTS, **change.pop("events", {})}, **change}
    mapping = ColumnMapping.model_validate(sections)
    return list(read_mapped(TableFile(folder / "t.csv", delimiter=mapping.delimiter), mapping))


def events(findings: list[Finding]) -> list[Event]:
    return [finding.event for finding in findings if isinstance(finding, FoundEvent)]


def test_a_time_without_an_offset_is_of_the_named_zone(tmp_path: Path) -> None:
    rows = "buy,2026-07-01 12:00,u,a,\nbuy,2026-12-01 12:00,u,a,\nbuy,2026-12-01 12:00Z,u,a,\n"
    hours = [event.timestamp.hour for event in events(findings_of(tmp_path, rows))]
    assert hours == [10, 11, 12]


@pytest.mark.parametrize(
    ("format", "cell"),
    [
        ("epoch_seconds", "1764590400"),
        ("epoch_milliseconds", "1764590400000"),
        ("%d.%m.%Y %H:%M", "01.12.2025 13:00"),
    ],
)
def test_times_are_read_in_the_format_that_the_mapping_names(
    tmp_path: Path, format: str, cell: str
) -> None:
    time = {**EVENTS["timestamp"], "format": format}
    (event,) = events(findings_of(tmp_path, f"buy,{cell},u,a,\n", events={"timestamp": time}))
    assert event.timestamp.isoformat() == "2025-12-01T12:00:00+00:00"


def test_made_ids_are_the_same_on_every_reading_and_equal_rows_stay_two_events(
    tmp_path: Path,
) -> None:
    rows = "buy,2026-07-01 12:00,u,a,\n" * 2
    first, second = events(findings_of(tmp_path, rows))
    assert first.event_id != second.event_id
    assert [event.event_id for event in events(findings_of(tmp_path, rows))] == [
        first.event_id,
        second.event_id,
    ]


def test_a_value_to_ignore_is_kept_out_and_an_unknown_one_rejected_by_name(tmp_path: Path) -> None:
    ignored, unknown = findings_of(tmp_path, "ping,2026-07-01,u,a,\nhover,2026-07-01,u,a,\n")
    assert ignored == KeptOut("event kind to ignore")
    assert isinstance(unknown, Rejected)
    assert unknown.line == 3
    assert unknown.reason.startswith("what is 'hover'; add the value to events.kind.values")
    assert unknown.raw == "hover,2026-07-01,u,a,"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("buy,yesterday,u,a,1", "when is 'yesterday'; write the time"),
        ("buy,2026-07-01,u,a,much", "paid is 'much'; write a number"),
        ("buy,2026-07-01,u,a,-1", "items[0].price is -1.0; expected"),
        ("buy,2026-07-01,u,,1", "items is []; a purchase event names at least one item"),
    ],
)
def test_a_row_that_makes_no_event_is_rejected_with_column_value_and_remedy(
    tmp_path: Path, row: str, reason: str
) -> None:
    (rejected,) = findings_of(tmp_path, row + "\n", events={"price": "paid"})
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(reason)


def test_a_column_that_the_file_lacks_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"events.session_id is 'visit'; .*what, when, who"):
        findings_of(tmp_path, "", events={"session_id": "visit"})


def test_the_catalogue_takes_the_newest_cell_of_each_item(tmp_path: Path) -> None:
    rows = "buy,2026-07-01,Home.Mugs,a,1\nbuy,2026-07-02,,a,2\n"
    catalog = {"category": "who", "category_separator": ".", "price": "paid"}
    findings = findings_of(tmp_path, rows, events={"user_id": None}, catalog=catalog)
    assert [finding for finding in findings if isinstance(finding, FoundItem)] == [
        FoundItem(Item(item_id="a", category=["Home", "Mugs"], price=2.0), declared=False)
    ]


def test_a_consent_column_says_yes_no_or_nothing(
    tmp_path: Path, bring_in: BringIn, log_rows: LogRows
) -> None:
    columns = {**EVENTS, "event_id": "id", "consent": {"column": "ok", "granted": ["y"]}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"events": columns}))
    rows = [f"buy,2026-07-01,u{n},a,e{n},{answer}\n" for n, answer in enumerate(["y", "n", ""])]
    (tmp_path / "t.csv").write_text("what,when,who,sku,id,ok\n" + "".join(rows))
    bring_in(tmp_path / "t.csv", mapping=tmp_path / "m.yaml")
    assert log_rows("event_id, user_id") == [("e0", "u0"), ("e1", None), ("e2", None)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("events: {kind: {always: purchase}, timestamp: {column: t}, buyer: x}", "events.buyer"),
        ("events: {kind: {always: buy}, timestamp: {column: t}}", "events.kind.always is 'buy'"),
        ("events: {kind: {}, timestamp: {column: t}}", "give either `column`"),
        ("events: {kind: {always: purchase}, timestamp: {column: t, zone: Mars}}", "IANA"),
        ("events: [", "it is not YAML"),
    ],
)
def test_a_mapping_with_a_wrong_key_is_refused_by_its_name(
    tmp_path: Path, text: str, error: str
) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(InvalidConfig) as refused:
        read_mapping(tmp_path / "m.yaml")
    assert error in str(refused.value)


def test_the_example_mapping_shows_every_key() -> None:
    path = CONFIGS / "import-example.yaml"
    read_mapping(path)
    text = path.read_text()
    for section in (
        ColumnMapping,
        EventColumns,
        KindColumn,
        TimeColumn,
        ConsentColumn,
        CatalogColumns,
    ):
        assert [key for key in section.model_fields if f"{key}:" not in text] == []


def test_the_rees46_slice_comes_in_with_its_catalogue(
    shared_data: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    path = shared_data / "rees46" / "2019-Oct-slice.csv.gz"
    mapping = CONFIGS / "import-rees46.yaml"
    with pytest.raises(ConsentMissing):
        bring_in(path, mapping=mapping)
    (file,) = bring_in(path, mapping=mapping, consent="assumed").files
    assert (file.rows, file.events, file.rejected) == (17_435, 17_434, 1)
    assert file.rejected_examples == ("line 17436: the row has 8 cells; the header has 9 columns",)
    kinds = dict.fromkeys(("view_item", "add_to_cart", "purchase"), 0)
    for (kind,) in log_rows("kind"):
        kinds[kind] += 1
    assert kinds == {"view_item": 17_055, "add_to_cart": 165, "purchase": 214}
    heater = next(item for item in store.items() if item.item_id == "3900821")
    assert heater.category == ["appliances", "environment", "water_heater"]
    assert (heater.brand, heater.price) == ("aqua", 33.2)
