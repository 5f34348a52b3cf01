"""The event log: Parquet partitions by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.atomic_files import path_beside
from recsys.events.log import SCHEMA, START, EventLog, LogPosition, rows
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Event, EventContext, EventItem, Person

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_event(id: str, *, hours: float = 0, **fields: Any) -> Event:
    fields.setdefault("items", [EventItem(item_id="a")])
    return Event(event_id=id, event="purchase", timestamp=NOON + timedelta(hours=hours), **fields)


def all_rows(log: EventLog) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, schema=SCHEMA) for path in log.files()]
    return pa.concat_tables(tables).to_pylist() if tables else []


def test_an_event_is_one_row_per_item_with_all_that_it_said() -> None:
    event = make_event(
        "e1",
        items=[EventItem(item_id="a", quantity=2, price=9.5, index=3), EventItem(item_id="b")],
        user_id="u",
        anonymous_id="v",
        session_id="s",
        account_id="acme",
        search_term="mug",
        recommendation_id="r",
        transaction_id="t",
        currency="EUR",
        rating=4.0,
        action="like",
        name="video",
        brand="Harbour",
        category=["Home", "Mugs"],
        days=7.0,
        context=EventContext(channel="web", device="mobile", country="NL", referrer="mail"),
    )
    first, second = rows([event]).to_pylist()
    assert first == {
        "event_id": "e1",
        "position": 0,
        "kind": "purchase",
        "timestamp": NOON,
        "user_id": "u",
        "anonymous_id": "v",
        "session_id": "s",
        "account_id": "acme",
        "item_id": "a",
        "quantity": 2.0,
        "price": 9.5,
        "list_index": 3,
        "currency": "EUR",
        "search_term": "mug",
        "recommendation_id": "r",
        "transaction_id": "t",
        "rating": 4.0,
        "action": "like",
        "name": "video",
        "country": "NL",
        "channel": "web",
        "device": "mobile",
        "referrer": "mail",
        "brand": "Harbour",
        "category": "Home > Mugs",
        "days": 7.0,
    }
    changed = {"position": 1, "item_id": "b", "quantity": 1.0, "price": None, "list_index": None}
    assert second == {**first, **changed}


def test_an_event_without_items_is_one_row_without() -> None:
    table = rows([make_event("e1", items=[]), make_event("e2"), make_event("e3", items=[])])
    assert table.schema == SCHEMA
    assert table["event_id"].to_pylist() == ["e1", "e2", "e3"]
    assert table["item_id"].to_pylist() == [None, "a", None]
    assert table["position"].to_pylist() == [0, 0, 0]


def test_no_events_are_a_table_without_rows() -> None:
    assert rows([]).schema == SCHEMA
    assert len(rows([])) == 0


def test_each_day_has_its_own_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(rows([make_event("a"), make_event("b", hours=13), make_event("c")]), part="p1")
    assert [str(path.relative_to(tmp_path)) for path in log.files()] == [
        "date=2026-11-21/p1.parquet",
        "date=2026-11-22/p1.parquet",
    ]
    assert [row["event_id"] for row in all_rows(log)] == ["a", "c", "b"]


def test_the_day_is_that_of_utc(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    evening = datetime.fromisoformat("2026-11-21T23:30:00-05:00")
    log.append(rows([Event(event_id="e", event="search", timestamp=evening)]), part="p")
    assert [path.parent.name for path in log.files()] == ["date=2026-11-22"]


def test_a_part_written_again_leaves_no_row_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    events = [make_event("a"), make_event("b", hours=13)]
    log.append(rows(events[:1]), part="p1")
    log.append(rows(events), part="p1")
    log.append(rows([make_event("c")]), part="p2")
    assert sorted(row["event_id"] for row in all_rows(log)) == ["a", "b", "c"]


def test_a_file_that_was_being_written_is_no_part_of_the_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(rows([make_event("a")]), part="p1")
    path_beside(tmp_path / "date=2026-11-21" / "p2.parquet").write_bytes(b"PAR1 half")
    assert [row["event_id"] for row in all_rows(log)] == ["a"]


def test_a_range_touches_the_files_of_its_days_only(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(rows([make_event(str(day), hours=24 * day) for day in range(5)]), part="p")
    chosen = log.files(since=NOON + timedelta(days=1), until=NOON + timedelta(days=2))
    assert [path.parent.name for path in chosen] == ["date=2026-11-22", "date=2026-11-23"]
    assert EventLog(tmp_path / "nowhere").files() == []


def test_erasing_a_person_removes_every_row_of_theirs_and_no_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(
        rows(
            [
                make_event("1", user_id="u", items=[EventItem(item_id=id) for id in "ab"]),
                make_event("2", user_id="other"),
                make_event("3", anonymous_id="v", hours=24),
                make_event("4"),
                make_event("5", user_id="v"),
                make_event("6", user_id="w", anonymous_id="v"),
            ]
        ),
        part="p",
    )
    persons = [pseudonyms_of(["u:u"]), pseudonyms_of(["a:v", "a:nobody"])]
    assert log.erase(persons) == [2, 1]
    assert sorted(row["event_id"] for row in all_rows(log)) == ["2", "4", "5", "6"]
    assert log.erase(persons) == [0, 0]
    assert log.erase([]) == []


def test_erasing_leaves_the_files_of_others_untouched(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(rows([make_event("1", user_id="u"), make_event("2", hours=24)]), part="p")
    other = log.files()[1]
    before = other.stat().st_ino
    assert log.erase([pseudonyms_of(["u:u"])]) == [1]
    assert other.stat().st_ino == before


def test_the_rows_of_a_person_come_in_pages(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    of_user = [make_event(f"u{n}", user_id="u", hours=n * 12) for n in range(5)]
    visits = [make_event("v", anonymous_id="v"), make_event("x", anonymous_id="v", user_id="x")]
    log.append(rows([*of_user, *visits, make_event("nobody")]), part="p")
    persons = [Person("u"), Person(anonymous_id="v")]
    read: list[str] = []
    position: LogPosition | None = START
    pages = 0
    while position is not None:
        page, position = log.rows_of(persons, since=position, limit=2, most_files=2)
        assert len(page) <= 2
        assert all(value is not None for row in page for value in row.values())
        read += [row["event_id"] for row in page]
        pages += 1
    assert sorted(read) == ["u0", "u1", "u2", "u3", "u4", "v"]
    assert pages >= 3
