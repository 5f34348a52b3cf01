"""Consent of imported history is said or read, and written down; it is never guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsys.events.schema import Consent, Event, Person
from recsys.query.profile import Profile
from recsys.store.sqlite import SQLiteStore
from training.datasets import ConsentMissing, ImportSummary
from training.workspace import Workspace

BringIn = Callable[..., ImportSummary]
LogRows = Callable[[str], list[tuple[Any, ...]]]

AGREED = Consent(personalization=True, analytics=True)
REFUSED = Consent(personalization=False, analytics=False)
LATER = datetime(2026, 6, 1, tzinfo=UTC)


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event": "view_item",
        "timestamp": "2026-01-01T00:00:00Z",
        "items": [{"item_id": "a"}],
        **fields,
    }


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def records(workspace: Workspace) -> list[dict[str, Any]]:
    return [json.loads(line) for line in workspace.imports.read_text().splitlines()]


@pytest.mark.parametrize("name", ["user_id", "anonymous_id"])
def test_events_that_name_persons_are_refused_where_nothing_says_whether_they_agreed(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, workspace: Workspace, name: str
) -> None:
    path = written(tmp_path, event(1), event(2, **{name: "p1"}))
    with pytest.raises(ConsentMissing, match=r"line 2: consent is None.*--consent assumed"):
        bring_in(path)
    assert bring_in(written(tmp_path, event(1))).files[0].events == 1
    assert [record["state"] for record in records(workspace)] == ["begun", "begun", "done"]


def test_assumed_consent_ties_the_events_to_their_persons_and_is_on_record(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    bring_in(written(tmp_path, event(1, user_id="p1")), consent="assumed")
    known = store.person(Person("p1"))
    assert known.consent == AGREED
    assert [stored.item_id for stored in known.history] == ["a"]
    assert log_rows("user_id") == [("p1",)]


def test_absent_consent_leaves_the_events_as_nobodys_and_no_profile(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    bring_in(written(tmp_path, event(1, user_id="p1")), consent="absent")
    summary = bring_in(
        written(tmp_path, {"user_id": "p1", "country": "NL"}), "profiles", consent="absent"
    )
    assert log_rows("user_id, item_id") == [(None, "a")]
    assert store.person(Person("p1")).key is None
    assert store.profiles() == {}
    assert summary.files[0].kept_out == {"profile of a person without consent": 1}


def test_consent_in_the_file_goes_before_what_was_said(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    refused = {"personalization": False}
    path = written(tmp_path, event(1, user_id="p1", consent=refused), event(2, user_id="p2"))
    bring_in(path, consent="assumed")
    assert log_rows("event_id, user_id") == [("e1", None), ("e2", "p2")]


def test_a_refusal_on_record_goes_before_an_assumption(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore, log_rows: LogRows
) -> None:
    for number, consent in enumerate((AGREED, REFUSED)):
        refusal = Event(
            event_id=f"live-{number}",
            event="custom",
            name="settings",
            timestamp=datetime(2025, 1, 1 + number, tzinfo=UTC),
            user_id="p1",
            consent=consent,
        )
        store.append([refusal], received_at=LATER)
    assert store.denied() == {"u:p1"}
    bring_in(written(tmp_path, event(1, user_id="p1")), consent="assumed")
    bring_in(written(tmp_path, {"user_id": "p1", "country": "NL"}), consent="assumed")
    assert store.denied() == {"u:p1"}
    assert [row for row in log_rows("event_id, user_id") if row[0] == "e1"] == [("e1", None)]
    assert store.profiles() == {}


def test_an_assumption_takes_nothing_back_that_a_profile_has_on_record(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    partly = Consent(personalization=True, analytics=False)
    store.put_profiles([Profile(user_id="p1", consent=partly)], received_at=LATER)
    bring_in(written(tmp_path, {"user_id": "p1", "country": "NL"}), consent="assumed")
    known = store.person(Person("p1"))
    assert (known.consent, known.profile.country) == (partly, "NL")


def test_profiles_are_refused_where_nothing_says_whether_their_persons_agreed(
    tmp_path: Path, bring_in: BringIn, store: SQLiteStore
) -> None:
    with pytest.raises(ConsentMissing, match="line 1"):
        bring_in(written(tmp_path, {"user_id": "p1", "country": "NL"}), "profiles")
    assert store.profiles() == {}


def test_what_was_said_is_written_down_with_the_digest_of_the_file(
    tmp_path: Path, bring_in: BringIn, workspace: Workspace
) -> None:
    path = written(tmp_path, event(1, user_id="p1"), {"event_id": "e2"})
    bring_in(path, "events", consent="assumed")
    begun, done = records(workspace)
    assert begun["state"] == "begun"
    assert done["state"] == "done"
    assert done["consent"] == "assumed"
    assert done["at"] == "2026-11-22T00:00:00Z"
    assert (done["file"], done["rows"], done["events"], done["rejected"]) == ("rows.jsonl", 2, 1, 1)
    assert done["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
