"""The data checks: a healthy log passes, and each fault is found, graded and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pydantic import ValidationError

from recsys.events.checks import Check, CheckRules, Status, check_log, worst
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventItem, EventKind, anonymised
from recsys.synthetic import ShopConfig, make_shop, simulate

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 40
AS_OF = START + timedelta(days=DAYS)
ITEMS = [f"sku-{n}" for n in range(20)]
NAMES = [
    "time range",
    "unknown items",
    "duplicates",
    "repeated content",
    "one item",
    "one person",
    "bots",
    "empty days",
    "clock",
    "missing prices",
    "no person",
]
_numbers = count()


def event(
    when: datetime,
    *,
    person: str | None = "c-1",
    item: str = "sku-1",
    kind: EventKind = "view_item",
    price: float | None = 5.0,
) -> Event:
    return Event(
        event_id=f"e-{next(_numbers)}",
        event=kind,
        timestamp=when,
        user_id=person,
        items=[EventItem(item, price=price)],
    )


def healthy(days: int = DAYS, per_day: int = 50) -> list[Event]:
    """50 events a day by 25 customers on 20 items, a few minutes apart, one in five a purchase."""
    return [
        event(
            START + timedelta(days=day, hours=8, minutes=10 * n),
            person=f"c-{(day + n) % 25}",
            item=ITEMS[(day + 3 * n) % len(ITEMS)],
            kind="purchase" if n % 5 == 0 else "view_item",
        )
        for day in range(days)
        for n in range(per_day)
    ]


def checked(
    folder: Path,
    events: list[Event],
    *,
    rules: CheckRules | None = None,
    catalog: list[str] | None = None,
    as_of: datetime = AS_OF,
) -> dict[str, Check]:
    log = EventLog(folder)
    if events:
        log.append(rows(events), part="one")
    checks = check_log(
        log,
        catalog_ids=ITEMS if catalog is None else catalog,
        as_of=as_of,
        since=START - timedelta(days=365),
        rules=rules or CheckRules(),
    )
    return {check.name: check for check in checks}


def test_a_healthy_log_passes_every_check_in_a_fixed_order(tmp_path: Path) -> None:
    checks = checked(tmp_path, healthy())
    assert list(checks) == NAMES
    assert {check.status for check in checks.values()} == {Status.PASS}
    assert all(check.examples == () for check in checks.values())
    assert worst(list(checks.values())) is Status.PASS


def first_share(events: list[Event], share: float) -> Iterator[tuple[Event, bool]]:
    """Each event, and whether it is among the share that is to be spoiled, spread evenly."""
    for number, each in enumerate(events):
        yield each, int(number * share) != int((number + 1) * share)


def unknown_items(share: float) -> list[Event]:
    return [
        msgspec.structs.replace(each, items=[EventItem("sku-lost", price=5.0)]) if bad else each
        for each, bad in first_share(healthy(), share)
    ]


def repeated(share: float) -> list[Event]:
    """The share is sent again under another event id, 40 milliseconds later."""
    events = healthy()
    again = [
        msgspec.structs.replace(
            each,
            event_id=f"{each.event_id}-again",
            timestamp=each.timestamp + timedelta(milliseconds=40),
        )
        for each, bad in first_share(events, share)
        if bad
    ]
    return events + again


def one_item(share: float) -> list[Event]:
    return [
        msgspec.structs.replace(each, items=[EventItem("sku-7", price=5.0)]) if bad else each
        for each, bad in first_share(healthy(), share)
    ]


def one_person(share: float) -> list[Event]:
    return [
        msgspec.structs.replace(each, user_id="c-7") if bad else each
        for each, bad in first_share(healthy(), share)
    ]


def bot(events: int, gap: timedelta) -> list[Event]:
    start = START + timedelta(days=3, hours=1)
    return healthy() + [
        event(start + n * gap, person="c-bot", item=ITEMS[n % 20]) for n in range(events)
    ]


def gap(days: int) -> list[Event]:
    late = START + timedelta(days=10 + days)
    return [e for e in healthy(120) if not START + timedelta(days=10) <= e.timestamp < late]


def wrong_clock(events: int, when: datetime) -> list[Event]:
    return healthy() + [event(when + timedelta(minutes=n)) for n in range(events)]


def priceless(share: float) -> list[Event]:
    return [
        msgspec.structs.replace(each, items=[EventItem(each.items[0].item_id)]) if bad else each
        for each, bad in first_share(healthy(), share)
    ]


def nobody(share: float) -> list[Event]:
    return [anonymised(each) if bad else each for each, bad in first_share(healthy(), share)]


FAULTS: list[tuple[str, Status, Callable[[], list[Event]], str]] = [
    ("time range", Status.FAIL, lambda: healthy(1), ""),
    ("time range", Status.FAIL, lambda: healthy(30, 2), ""),
    ("time range", Status.WARN, lambda: healthy(20, 60), ""),
    ("time range", Status.WARN, lambda: healthy(40, 10), ""),
    ("time range", Status.WARN, lambda: healthy(35), ""),
    ("unknown items", Status.WARN, lambda: unknown_items(0.1), "sku-lost (200 lines)"),
    ("unknown items", Status.FAIL, lambda: unknown_items(0.6), "sku-lost (1200 lines)"),
    ("repeated content", Status.PASS, lambda: repeated(0.01), ""),
    ("repeated content", Status.WARN, lambda: repeated(0.1), "customer c-"),
    ("one item", Status.WARN, lambda: one_item(0.3), "sku-7 ("),
    ("one item", Status.FAIL, lambda: one_item(0.7), "sku-7 ("),
    ("one person", Status.WARN, lambda: one_person(0.2), "customer c-7 ("),
    ("one person", Status.FAIL, lambda: one_person(0.6), "customer c-7 ("),
    ("bots", Status.WARN, lambda: bot(200, timedelta(milliseconds=250)), "customer c-bot (200 in"),
    ("bots", Status.PASS, lambda: bot(200, timedelta(seconds=2)), ""),
    ("bots", Status.FAIL, lambda: bot(2500, timedelta(seconds=2)), "customer c-bot (2500 in a day"),
    ("empty days", Status.PASS, lambda: gap(3), ""),
    ("empty days", Status.WARN, lambda: gap(5), "nothing from 2026-03-12 to 2026-03-16"),
    ("empty days", Status.FAIL, lambda: gap(60), "nothing from 2026-03-12 to 2026-05-10"),
    ("clock", Status.PASS, lambda: wrong_clock(20, AS_OF + timedelta(hours=1)), ""),
    ("clock", Status.WARN, lambda: wrong_clock(20, AS_OF + timedelta(days=2)), "at 2026-04-13T"),
    ("clock", Status.WARN, lambda: wrong_clock(1, datetime(1970, 1, 1, tzinfo=UTC)), "at 1970-"),
    ("clock", Status.FAIL, lambda: wrong_clock(200, AS_OF + timedelta(days=900)), "at 2028-"),
    ("missing prices", Status.PASS, lambda: priceless(0.05), ""),
    ("missing prices", Status.WARN, lambda: priceless(1.0), "sku-"),
    ("no person", Status.PASS, lambda: nobody(0.4), ""),
    ("no person", Status.WARN, lambda: nobody(0.8), "view_item ("),
    ("no person", Status.FAIL, lambda: nobody(1.0), "view_item (1600 events)"),
]


@pytest.mark.parametrize(
    ("name", "status", "events", "example"),
    FAULTS,
    ids=[f"{number} {name} {status.name}" for number, (name, status, *_) in enumerate(FAULTS)],
)
def test_each_fault_is_found_and_graded(
    tmp_path: Path, name: str, status: Status, events: Callable[[], list[Event]], example: str
) -> None:
    as_of = START + timedelta(days=120) if name == "empty days" else AS_OF
    check = checked(tmp_path, events(), as_of=as_of)[name]
    assert (check.name, check.status) == (name, status), check.message
    if example:
        assert example in check.examples[0]
    else:
        assert check.examples == ()


@pytest.mark.parametrize(("copies", "status"), [(1, Status.WARN), (1000, Status.FAIL)])
def test_rows_that_stand_twice_are_found(tmp_path: Path, copies: int, status: Status) -> None:
    events = healthy()
    EventLog(tmp_path).append(rows(events[:copies]), part="two")
    check = checked(tmp_path, events)["duplicates"]
    assert check.status is status
    assert f"{copies:,} of {2000 + copies:,}" in check.message
    assert check.examples[0].endswith("(2 times)")


def test_the_items_of_one_event_are_not_duplicates(tmp_path: Path) -> None:
    events = healthy()
    events.append(
        msgspec.structs.replace(
            event(START + timedelta(hours=7), kind="purchase"),
            items=[EventItem("sku-1", price=1.0), EventItem("sku-1", price=1.0)],
        )
    )
    checks = checked(tmp_path, events)
    assert checks["duplicates"].status is Status.PASS
    assert "0 of" in checks["repeated content"].message


def test_an_event_with_many_items_is_one_event_for_bots_and_persons(tmp_path: Path) -> None:
    events = healthy()
    invoice = [EventItem(ITEMS[n % 20], price=1.0) for n in range(900)]
    for minute in range(20):
        each = event(START + timedelta(days=2, hours=20, minutes=minute), person="c-wholesale")
        events.append(msgspec.structs.replace(each, items=invoice))
    checks = checked(tmp_path, events)
    assert checks["bots"].status is Status.PASS
    assert checks["one person"].status is Status.PASS


def test_times_that_are_mere_dates_are_no_fault(tmp_path: Path) -> None:
    """Imports without a time of day stand at midnight: no bot, no double click, no wrong clock."""
    busy_day = [event(START + timedelta(days=5)) for _ in range(100)]
    events = busy_day + [
        msgspec.structs.replace(each, timestamp=each.timestamp.replace(hour=0, minute=0))
        for each in healthy()
    ]
    checks = checked(tmp_path, events)
    assert {check.status for check in checks.values()} == {Status.PASS}
    assert "100% of the times are mere dates" in checks["clock"].message


def test_an_empty_log_fails_with_a_remedy(tmp_path: Path) -> None:
    checks = checked(tmp_path, [])
    assert [(check.name, check.status) for check in checks.values()] == [
        ("time range", Status.FAIL)
    ]
    assert "import events" in checks["time range"].message


def test_events_outside_the_window_do_not_count(tmp_path: Path) -> None:
    checks = checked(tmp_path, healthy(), as_of=START)
    assert list(checks) == ["time range"]
    checks = checked(tmp_path, [], as_of=START + timedelta(days=30))
    assert checks["time range"].message.startswith("1,500 events over 30 days, 2026-03-02")


def test_an_empty_catalogue_is_a_warning(tmp_path: Path) -> None:
    check = checked(tmp_path, healthy(), catalog=[])["unknown items"]
    assert check.status is Status.WARN
    assert "catalogue is empty" in check.message


def test_events_without_items_are_counted_but_are_no_unknown_items(tmp_path: Path) -> None:
    events = healthy()
    searches = [
        Event(
            event_id=f"q-{n}",
            event="search",
            timestamp=START + timedelta(days=1, minutes=n),
            user_id=f"c-{n}",
            search_term="mugs",
        )
        for n in range(200)
    ]
    checks = checked(tmp_path, events + searches)
    assert checks["time range"].message.startswith("2,200 events")
    assert checks["unknown items"].status is Status.PASS


def test_the_public_form_names_nobody(tmp_path: Path) -> None:
    for events in (one_person(0.6), bot(2500, timedelta(seconds=2)), repeated(0.1)):
        for check in checked(tmp_path, events).values():
            public = check.public()
            assert public == replace(check, examples=())
            assert "c-" not in public.message


def test_thresholds_given_in_the_rules_win(tmp_path: Path) -> None:
    strict = CheckRules(one_item_warn=0.01, one_item_fail=0.02)
    assert checked(tmp_path, healthy(), rules=strict)["one item"].status is Status.FAIL


def test_no_more_examples_are_given_than_asked_for(tmp_path: Path) -> None:
    events = repeated(0.1)
    assert len(checked(tmp_path, events)["repeated content"].examples) == 5
    few = CheckRules(examples=2)
    assert len(checked(tmp_path, [], rules=few)["repeated content"].examples) == 2


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="one_itm_warn"):
        CheckRules.model_validate({"one_itm_warn": 0.5})


def test_the_worst_status_decides() -> None:
    checks = [Check("a", Status.PASS, ""), Check("b", Status.FAIL, ""), Check("c", Status.WARN, "")]
    assert worst(checks) is Status.FAIL
    assert worst(checks[::2]) is Status.WARN
    assert worst([]) is Status.PASS


def test_the_synthetic_shop_passes(tmp_path: Path) -> None:
    config = ShopConfig()
    shop = make_shop(config, rng=np.random.default_rng(7))
    log = EventLog(tmp_path)
    history = simulate(shop, days=config.days, rng=np.random.default_rng(8))
    stored = [e if e.personalization else anonymised(e) for day in history for e in day]
    log.append(rows(stored), part="synthetic")
    checks = check_log(
        log,
        catalog_ids=[item.item_id for item in shop.items],
        as_of=config.opening + timedelta(days=config.days),
        since=config.opening,
        rules=CheckRules(),
    )
    assert {check.name: check.status for check in checks if check.status} == {}
