"""Lists that were shown: what came of each item, told by the same visit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys.dataset.impressions import BOUGHT, CLICKED, IN_CART, NOT_TAKEN, Impressions
from recsys.dataset.splitting import HeldOut, check_no_leak
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import LeakFromFuture
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventItem, EventKind, anonymised
from recsys.events.weighting import Weighting

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)


def event(
    kind: EventKind,
    minute: float,
    items: Sequence[str],
    *,
    session: str | None = "s1",
    term: str | None = None,
    user: str | None = "u",
) -> Event:
    return Event(
        event_id=f"{kind} {minute} {session} {user}",
        event=kind,
        timestamp=AS_OF - timedelta(days=1) + timedelta(minutes=minute),
        user_id=user,
        session_id=session,
        search_term=term,
        items=[EventItem(item, index=position) for position, item in enumerate(items)],
    )


def read(folder: Path, events: Sequence[Event]) -> TrainingData:
    log = EventLog(folder / "log")
    log.append(rows(events), part="all")
    return read_training_data(log, as_of=AS_OF, weighting=Weighting())


def outcomes(data: TrainingData, lists: Impressions, number: int) -> dict[str, int]:
    span = slice(int(lists.starts[number]), int(lists.starts[number + 1]))
    items = data.items.ids(lists.items[span])
    return dict(zip(items, lists.outcomes[span].tolist(), strict=True))


def test_the_furthest_step_of_the_visit_is_the_outcome(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            event("view_item_list", 0, ["a", "b", "c", "d"], term="Red  Mug"),
            event("select_item", 1, ["b"]),
            event("view_item", 2, ["b"]),
            event("add_to_cart", 3, ["c"]),
            event("add_to_cart", 4, ["d"]),
            event("purchase", 50, ["d"]),
        ],
    )
    lists = data.impressions
    assert outcomes(data, lists, 0) == {"a": NOT_TAKEN, "b": CLICKED, "c": IN_CART, "d": BOUGHT}
    assert lists.positions.tolist() == [0, 1, 2, 3]
    assert lists.term_names.ids() == ["red mug"]
    assert data.users.ids(lists.users) == ["u:u"]


def test_what_follows_belongs_to_the_newest_list_with_the_item(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            event("view_item", 0, ["a"]),
            event("view_item_list", 1, ["a", "b"], term="mug"),
            event("view_item", 2, ["b"]),
            event("view_item_list", 3, ["b", "c"]),
            event("view_item", 4, ["b"]),
            event("view_item", 5, ["a"], session="s2"),
        ],
    )
    assert outcomes(data, data.impressions, 0) == {"a": NOT_TAKEN, "b": CLICKED}
    assert outcomes(data, data.impressions, 1) == {"b": CLICKED, "c": NOT_TAKEN}
    assert data.impressions.terms.tolist() == [0, -1]


def test_without_a_session_an_action_counts_within_half_an_hour(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            event("view_item_list", 0, ["a", "b"], term="mug", session=None),
            event("view_item", 20, ["a"], session=None),
            event("view_item", 40, ["b"], session=None),
        ],
    )
    assert outcomes(data, data.impressions, 0) == {"a": CLICKED, "b": NOT_TAKEN}


def test_a_list_of_nobodys_visit_teaches_nothing(tmp_path: Path) -> None:
    denied = [
        anonymised(event("view_item_list", 0, ["a", "b"], term="mug")),
        anonymised(event("view_item", 1, ["a"])),
    ]
    assert len(read(tmp_path, denied).impressions) == 0


def test_a_list_of_the_held_out_days_is_a_leak(tmp_path: Path) -> None:
    data = read(tmp_path, [event("view_item_list", 0, ["a"], user=None)])
    late = HeldOut(AS_OF - timedelta(days=1), AS_OF, (), ())
    assert not len(data.timeline.times)
    with pytest.raises(LeakFromFuture):
        check_no_leak(data, late)
    assert np.all(data.impressions.times < AS_OF.timestamp())
