"""`recsys import` on the command line: exit codes and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recsys.store.sqlite import SQLiteStore
from training.cli.import_command import import_
from training.workspace import Workspace

EVENT = {
    "event_id": "e1",
    "event": "view_item",
    "timestamp": "2026-01-01T00:00:00Z",
    "user_id": "u1",
    "items": [{"item_id": "a"}],
}


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    app.command("import")(import_)
    return app


def write_jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_files_of_every_kind_come_in_together(command: typer.Typer, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    arguments = ["--events", write_jsonl(tmp_path / "e.jsonl", EVENT)]
    arguments += ["--items", write_jsonl(tmp_path / "i.jsonl", {"item_id": "a", "title": "Mug"})]
    arguments += [
        "--profiles",
        write_jsonl(tmp_path / "p.jsonl", {"user_id": "u1", "country": "NL"}),
    ]
    arguments += ["--consent", "assumed", "--workspace", str(workspace.root)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "accepted    1 events, 0 items, 0 profiles" in result.stdout
    assert "1 events archived in the event log" in result.stdout
    store = SQLiteStore(workspace.store)
    assert [item.title for item in store.items()] == ["Mug"]
    assert store.profiles()["u:u1"].country == "NL"
    store.close()


def test_a_merchant_feed_is_the_catalogue(command: typer.Typer, tmp_path: Path) -> None:
    feed = tmp_path / "feed.txt"
    feed.write_text("id\ttitle\tlink\tprice\navailable\tMug\thttps://x.example\t9.95 EUR\n")
    arguments = ["--catalog", str(feed), "--format", "merchant", "--workspace", str(tmp_path / "w")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "feed.txt (merchant feed): 1 rows" in result.stdout
    store = SQLiteStore(Workspace(tmp_path / "w").store)
    assert [(item.title, item.price) for item in store.items()] == [("Mug", 9.95)]
    store.close()


def test_refusals_are_exit_code_1_with_the_remedy_on_standard_error(
    command: typer.Typer, tmp_path: Path
) -> None:
    arguments = [
        "--data",
        write_jsonl(tmp_path / "e.jsonl", EVENT),
        "--workspace",
        str(tmp_path / "w"),
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert "say --consent assumed" in result.stderr


def test_too_many_rejected_rows_are_exit_code_1_unless_allowed(
    command: typer.Typer, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "e.jsonl", EVENT, {**EVENT, "event_id": "e2", "event": "buy"})
    arguments = ["--data", path, "--consent", "assumed", "--workspace", str(tmp_path / "w")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert "50.0% of the rows were rejected" in result.stderr
    assert "line 2: event is 'buy'" in result.stdout
    assert CliRunner().invoke(command, [*arguments, "--max-rejected", "0.5"]).exit_code == 0


def test_nothing_to_import_is_a_usage_error_that_names_the_options(command: typer.Typer) -> None:
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 2
    assert "--data" in result.stderr


def test_the_help_shows_examples(command: typer.Typer) -> None:
    result = CliRunner().invoke(command, ["--help"], env={"COLUMNS": "200"})
    assert "recsys import --data online_retail.parquet --consent assumed" in result.stdout
