"""Time splits: what is held out lies after everything that is learnt from."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.dataset.person_records import AccountEvents, Asides
from recsys.dataset.splitting import HeldOut, check_no_leak, hold_out
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import InsufficientData, LeakFromFuture
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventItem
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.query.history import StoredEvent
from recsys.query.query import Context

CUT = datetime(2026, 11, 10, tzinfo=UTC)
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)


def make_event(kind: Any, items: str, *, day: float, **fields: Any) -> Event:
    """An event so many days after the cut; each letter is an item."""
    return Event(
        event_id=f"{kind}-{items}-{day}-{sorted(fields.items())}",
        event=kind,
        timestamp=CUT + timedelta(days=day),
        items=[EventItem(item_id=id) for id in items],
        **fields,
    )


def make_log(folder: Path, *events: Event) -> EventLog:
    log = EventLog(folder)
    log.append(rows(events), part="p")
    return log


def taken(held_out: HeldOut) -> dict[str, tuple[str, ...]]:
    pairs = zip(held_out.persons, held_out.truth, strict=True)
    return {person: truth.items for person, truth in pairs}


def train(log: EventLog, as_of: datetime) -> TrainingData:
    return read_training_data(log, as_of=as_of, weighting=Weighting())


def test_the_truth_is_what_each_person_bought_in_the_period(tmp_path: Path) -> None:
    log = make_log(
        tmp_path,
        make_event("purchase", "z", day=-0.001, user_id="u"),
        make_event("purchase", "b", day=0, user_id="u"),
        make_event("purchase", "ab", day=20.9, user_id="u"),
        make_event("purchase", "y", day=21, user_id="u"),
        make_event("view_item", "x", day=1, user_id="u"),
        make_event("purchase", "c", day=2, anonymous_id="v"),
        make_event("purchase", "d", day=3),
    )
    held_out = hold_out(log, cut=CUT, until=UNTIL, seed=1)
    assert taken(held_out) == {"a:v": ("c",), "u:u": ("a", "b")}
    assert len(held_out) == 2


def test_quantities_are_summed_and_revenue_is_nan_without_a_price(tmp_path: Path) -> None:
    lines = [
        EventItem(item_id="a", quantity=2, price=1.5),
        EventItem(item_id="a", quantity=1, price=2.0),
        EventItem(item_id="b", quantity=4),
    ]
    event = Event(event_id="1", event="purchase", timestamp=CUT, user_id="u", items=lines)
    held_out = hold_out(make_log(tmp_path, event), cut=CUT, until=UNTIL, seed=1)
    assert held_out.truth[0].quantities.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(held_out.truth[0].revenues, [5.0, np.nan])


def test_the_kinds_that_count_are_those_of_the_call(tmp_path: Path) -> None:
    log = make_log(
        tmp_path,
        make_event("purchase", "a", day=1, user_id="u"),
        make_event("add_to_cart", "b", day=1, user_id="u"),
        make_event("view_item", "c", day=1, user_id="u"),
    )
    chosen = hold_out(log, cut=CUT, until=UNTIL, seed=1, kinds=("purchase", "add_to_cart"))
    assert taken(chosen) == {"u:u": ("a", "b")}


def test_who_refuses_is_not_held_out(tmp_path: Path) -> None:
    log = make_log(
        tmp_path,
        make_event("purchase", "a", day=1, user_id="no"),
        make_event("purchase", "a", day=1, user_id="yes"),
    )
    assert hold_out(log, cut=CUT, until=UNTIL, seed=1, denied={"u:no"}).persons == ("u:yes",)


def test_a_visitor_who_logs_in_is_the_customer(tmp_path: Path) -> None:
    log = make_log(
        tmp_path,
        make_event("identify", "", day=-50, anonymous_id="old", user_id="u"),
        make_event("purchase", "a", day=1, anonymous_id="old"),
        make_event("purchase", "b", day=2, anonymous_id="new"),
        make_event("identify", "", day=3, anonymous_id="new", user_id="u"),
        make_event("purchase", "c", day=4, anonymous_id="later"),
        make_event("identify", "", day=30, anonymous_id="later", user_id="u"),
    )
    assert taken(hold_out(log, cut=CUT, until=UNTIL, seed=1)) == {
        "a:later": ("c",),
        "u:u": ("a", "b"),
    }


def test_a_login_after_the_cut_gives_training_nothing(tmp_path: Path) -> None:
    log = make_log(
        tmp_path,
        make_event("view_item", "a", day=-2, anonymous_id="v"),
        make_event("purchase", "b", day=-2, user_id="other"),
        make_event("identify", "", day=1, anonymous_id="v", user_id="u"),
        make_event("purchase", "a", day=2, anonymous_id="v"),
    )
    data = train(log, CUT)
    held_out = hold_out(log, cut=CUT, until=UNTIL, seed=1)
    check_no_leak(data, held_out)
    assert held_out.persons == ("u:u",)
    assert data.users.ids() == ["a:v", "u:other"]
    assert len(data.queries(held_out.persons, now=CUT)[0].history) == 0


def test_the_sample_is_at_most_so_large_and_the_seeds_own(tmp_path: Path) -> None:
    log = make_log(
        tmp_path, *(make_event("purchase", "ab", day=1, user_id=f"{n:03}") for n in range(100))
    )
    first = hold_out(log, cut=CUT, until=UNTIL, seed=1, sample=20)
    again = hold_out(log, cut=CUT, until=UNTIL, seed=1, sample=20)
    other = hold_out(log, cut=CUT, until=UNTIL, seed=2, sample=20)
    assert len(set(first.persons)) == 20
    assert list(first.persons) == sorted(first.persons)
    assert first.persons == again.persons != other.persons
    assert {truth.items for truth in first.truth} == {("a", "b")}
    assert len(hold_out(log, cut=CUT, until=UNTIL, seed=1, sample=100)) == 100


def test_a_period_in_which_nobody_took_anything_is_too_little(tmp_path: Path) -> None:
    log = make_log(tmp_path, make_event("purchase", "a", day=-1, user_id="u"))
    with pytest.raises(InsufficientData, match="hold out a longer period"):
        hold_out(log, cut=CUT, until=UNTIL, seed=1)


def test_an_empty_period_or_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not before"):
        hold_out(EventLog(tmp_path), cut=UNTIL, until=CUT, seed=1)
    with pytest.raises(ValueError, match="at least one person"):
        hold_out(EventLog(tmp_path), cut=CUT, until=UNTIL, seed=1, sample=0)


@pytest.fixture
def clean(tmp_path: Path) -> tuple[TrainingData, HeldOut]:
    """Training data that end at the cut, and what is held out after it."""
    log = make_log(
        tmp_path,
        make_event("purchase", "ab", day=-1, user_id="u"),
        make_event("purchase", "ab", day=1, user_id="u"),
    )
    return train(log, CUT), hold_out(log, cut=CUT, until=UNTIL, seed=1)


def test_data_that_end_at_the_cut_pass(clean: tuple[TrainingData, HeldOut]) -> None:
    check_no_leak(*clean)


def test_data_as_of_a_moment_after_the_cut_are_a_leak(
    clean: tuple[TrainingData, HeldOut],
) -> None:
    data, held_out = clean
    late = dataclasses.replace(data, as_of=CUT + timedelta(microseconds=1))
    with pytest.raises(LeakFromFuture, match="at or before the cut"):
        check_no_leak(late, held_out)


@pytest.mark.parametrize(
    ("part", "times"), [("timeline", "times"), ("baskets", "times"), ("popularity", "days")]
)
def test_a_single_time_at_the_cut_is_a_leak(
    clean: tuple[TrainingData, HeldOut], part: str, times: str
) -> None:
    data, held_out = clean
    inside = getattr(data, part)
    moved = getattr(inside, times).copy()
    moved[-1] = CUT.timestamp()
    leaking = dataclasses.replace(data, **{part: dataclasses.replace(inside, **{times: moved})})
    with pytest.raises(LeakFromFuture, match=part):
        check_no_leak(leaking, held_out)


@pytest.mark.parametrize("part", ["asides", "account_events", "account_ids", "contexts"])
def test_a_record_of_a_person_at_the_cut_is_a_leak(
    clean: tuple[TrainingData, HeldOut], part: str
) -> None:
    data, held_out = clean
    time = CUT.timestamp()
    events = AccountEvents(
        accounts=Vocabulary(["x"]),
        starts=np.array([0, 1]),
        members=Vocabulary(["u:u"]),
        persons=np.zeros(1, np.int32),
        items=np.zeros(1, np.int32),
        kinds=np.zeros(1, np.int8),
        times=np.array([time]),
    )
    late = {
        "asides": {"u:u": Asides((StoredEvent("a", "feedback", time),), np.zeros(1, np.uint32))},
        "account_events": events,
        "account_ids": {"u:u": [(time, "x")]},
        "contexts": {"u:u": (time, Context())},
    }[part]
    records = dataclasses.replace(data.records, **{part: late})
    with pytest.raises(LeakFromFuture, match="records"):
        check_no_leak(dataclasses.replace(data, records=records), held_out)
