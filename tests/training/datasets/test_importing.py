"""The import as a whole: batches, repeats, what the shop declared, what is kept aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsys.catalog.items import Item
from recsys.events.schema import Person
from recsys.store.sqlite import SQLiteStore
from training.datasets import DataFile, ImportOptions, ImportSummary, import_files
from training.workspace import Workspace

BringIn = Callable[..., ImportSummary]
LogRows = Callable[[str], list[tuple[Any, ...]]]

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def event(number: int) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event": "view_item",
        "timestamp": "2026-01-01T00:00:00Z",
        "user_id": f"u{number}",
        "items": [{"item_id": "a"}],
    }


def test_a_second_import_of_the_same_files_adds_nothing(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    events = write_jsonl(tmp_path / "e.jsonl", [event(1), event(2), event(1)])
    items = write_jsonl(tmp_path / "i.jsonl", [{"item_id": "a", "title": "Mug"}])
    profiles = write_jsonl(tmp_path / "p.jsonl", [{"user_id": "u1", "country": "NL"}])
    paths = (events, items, profiles)
    first = [bring_in(path, consent="assumed").files[0] for path in paths]
    before = (
        log_rows("event_id, user_id, item_id"),
        store.items(),
        store.profiles(),
        store.catalog_changes(since=0),
    )
    again = [bring_in(path, consent="assumed").files[0] for path in paths]
    assert (
        log_rows("event_id, user_id, item_id"),
        store.items(),
        store.profiles(),
        store.catalog_changes(since=0),
    ) == before
    assert [(f.events, f.duplicates, f.items, f.profiles, f.known) for f in first] == [
        (2, 1, 0, 0, 0),
        (0, 0, 1, 0, 0),
        (0, 0, 0, 1, 0),
    ]
    assert [(f.events, f.duplicates, f.items, f.profiles, f.known) for f in again] == [
        (0, 3, 0, 0, 0),
        (0, 0, 0, 0, 1),
        (0, 0, 0, 0, 1),
    ]


def test_a_file_of_several_batches_is_stored_whole_and_its_progress_only_grows(
    tmp_path: Path, workspace: Workspace, store: SQLiteStore, log_rows: LogRows
) -> None:
    path = write_jsonl(tmp_path / "e.jsonl", [event(number) for number in range(4_500)])
    seen: list[tuple[str, int, int]] = []
    summary = import_files(
        [DataFile(path, "events")],
        ImportOptions(consent="assumed"),
        workspace=workspace,
        store=store,
        at=NOW,
        watch=lambda name, done, total: seen.append((name, done, total)),
    )
    assert summary.archived == len(log_rows("event_id")) == 4_500
    size = path.stat().st_size
    assert [(name, total) for name, _, total in seen] == [("e.jsonl", size)] * 3
    progress = [done for _, done, _ in seen]
    assert progress == sorted(progress)
    assert 0 < progress[0] < progress[-1] == size


def test_items_gathered_from_events_never_replace_what_the_shop_declared(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    declared = Item(item_id="a", title="Mug", price=9.0, stock=0.0)
    store.put_items([declared], received_at=NOW)
    (tmp_path / "t.csv").write_text("t,i,p\n2026-01-01,a,1\n2026-01-01,b,2\n")
    (tmp_path / "m.yaml").write_text(
        "events: {kind: {always: purchase}, timestamp: {column: t}, item_id: i}\n"
        "catalog: {price: p}\n"
    )
    bring_in(tmp_path / "t.csv", mapping=tmp_path / "m.yaml")
    assert store.items() == [declared, Item(item_id="b", price=2.0)]


def test_declared_items_and_profiles_replace_what_was_there(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    for title, country in (("Mug", "NL"), ("Cup", "BE")):
        bring_in(write_jsonl(tmp_path / "i.jsonl", [{"item_id": "a", "title": title}]), "items")
        profile = {"user_id": "u1", "country": country}
        bring_in(write_jsonl(tmp_path / "p.jsonl", [profile]), "profiles", consent="assumed")
    assert store.items() == [Item(item_id="a", title="Cup")]
    assert store.person(Person("u1")).profile.country == "BE"


def test_a_country_gathered_from_invoices_never_replaces_a_declared_one(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    profile = {"user_id": "17850", "country": "NL"}
    bring_in(write_jsonl(tmp_path / "p.jsonl", [profile]), consent="assumed")
    (tmp_path / "retail.csv").write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "1,a,Mug,1,2011-01-01 00:00:00,2.5,17850,France\n"
        "2,a,Mug,1,2011-01-01 00:00:00,2.5,17851,France\n"
    )
    bring_in(tmp_path / "retail.csv", consent="assumed")
    countries = {key: profile.country for key, profile in store.profiles().items()}
    assert countries == {"u:17850": "NL", "u:17851": "France"}


def test_rejected_lines_are_kept_with_number_reason_and_text(
    tmp_path: Path, bring_in: BringIn, workspace: Workspace
) -> None:
    wrong = {**event(2), "event": "buy"}
    path = write_jsonl(tmp_path / "e.jsonl", [event(1), wrong, event(3)])
    summary = bring_in(path, "events", consent="assumed")
    (file,) = summary.files
    assert (file.rows, file.events, file.rejected) == (3, 2, 1)
    assert file.rejected_file is not None
    assert file.rejected_file.parent == workspace.rejected
    (line,) = file.rejected_file.read_text().splitlines()
    kept = json.loads(line)
    assert (kept["line"], json.loads(kept["raw"])) == (2, wrong)
    assert kept["reason"].startswith("event is 'buy'; use one of ")
    assert "line 2: event is 'buy'" in str(summary)


def test_rejected_lines_of_two_files_of_one_name_are_both_kept(
    tmp_path: Path, bring_in: BringIn, workspace: Workspace
) -> None:
    for day in ("monday", "tuesday"):
        bring_in(write_jsonl(tmp_path / "e.jsonl", [{**event(1), "event": day}]), "events")
    kept = [path.read_text() for path in workspace.rejected.iterdir()]
    assert len(kept) == 2
    assert sorted(day for text in kept for day in ("monday", "tuesday") if day in text) == [
        "monday",
        "tuesday",
    ]


@pytest.mark.parametrize(("wrong", "succeeded"), [(0, True), (1, True), (2, False), (100, False)])
def test_success_is_something_taken_and_few_enough_rejected(
    tmp_path: Path, bring_in: BringIn, wrong: int, succeeded: bool
) -> None:
    rows = [
        {**event(number), **({"event": "buy"} if number < wrong else {})} for number in range(100)
    ]
    path = write_jsonl(tmp_path / "e.jsonl", rows)
    summary = bring_in(path, "events", consent="assumed")
    assert summary.succeeded(max_rejected=0.01) is succeeded
    assert summary.rejected_share == wrong / 100


def test_an_empty_file_is_no_success_and_a_repeated_import_is_one(
    tmp_path: Path, bring_in: BringIn
) -> None:
    assert not bring_in(write_jsonl(tmp_path / "e.jsonl", []), "events").succeeded(max_rejected=1.0)
    path = write_jsonl(tmp_path / "e.jsonl", [event(1)])
    for _ in range(2):
        assert bring_in(path, consent="assumed").succeeded(max_rejected=0.0)


def test_a_file_that_is_missing_stops_the_import_before_anything_is_stored(
    tmp_path: Path, workspace: Workspace, store: SQLiteStore
) -> None:
    items = write_jsonl(tmp_path / "i.jsonl", [{"item_id": "a"}])
    files = [DataFile(items, "items"), DataFile(tmp_path / "nowhere.jsonl", "events")]
    with pytest.raises(Exception, match=r"nowhere.jsonl'; there is no such file"):
        import_files(files, ImportOptions(), workspace=workspace, store=store, at=NOW)
    assert store.items() == []


def test_an_import_that_was_killed_half_way_is_finished_by_the_next(
    tmp_path: Path, workspace: Workspace, store: SQLiteStore, bring_in: BringIn, log_rows: LogRows
) -> None:
    path = write_jsonl(tmp_path / "e.jsonl", [event(number) for number in range(4_500)])

    def killed(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_files(
            [DataFile(path, "events")],
            ImportOptions(consent="assumed"),
            workspace=workspace,
            store=store,
            at=NOW,
            watch=killed,
        )
    (file,) = bring_in(path, consent="assumed").files
    assert (file.events, file.duplicates) == (2_500, 2_000)
    assert len(set(log_rows("event_id"))) == len(log_rows("event_id")) == 4_500
