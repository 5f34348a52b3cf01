"""Outcomes are joined to the answers that they followed from, each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventItem
from recsys.experiments.attribution import Attributed, AttributionRules, attribute
from recsys.store.protocol import LoggedAnswer

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=20)


def answer(
    id: str, *items: str, person: str | None = "u:ann", hours: float = 0, **more: Any
) -> LoggedAnswer:
    return LoggedAnswer(
        recommendation_id=id,
        time=(START + timedelta(hours=hours)).timestamp(),
        placement=more.pop("placement", "for_you"),
        variant=more.pop("variant", "champion"),
        model_version="v1",
        item_ids=items,
        sources=["als"] * len(items),
        levels=["individual"] * len(items),
        scores=[1.0] * len(items),
        propensities=[1.0] * len(items),
        person=person,
    )


def event(kind: Any, *items: str, hours: float, price: float | None = None, **more: Any) -> Event:
    more.setdefault("user_id", "ann")
    return Event(
        event_id=f"{kind}-{items}-{hours}-{more}",
        event=kind,
        timestamp=START + timedelta(hours=hours),
        items=[EventItem(item, price=price) for item in items],
        **more,
    )


@pytest.fixture
def follow(tmp_path: Path):  # type: ignore[no-untyped-def]
    """What followed from the answers, the events in a log."""

    def attribute_them(
        answers: list[LoggedAnswer], events: list[Event], **options: Any
    ) -> Attributed:
        log = EventLog(tmp_path / "log")
        if events:
            log.append(rows(events), part="all")
        options.setdefault("until", END)
        return attribute(log, answers, since=START, **options)

    return attribute_them


def test_a_click_belongs_to_the_answer_that_it_names(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea", "mug"), answer("r-2", "tea", hours=1)],
        [event("select_item", "tea", hours=2, recommendation_id="r-1")],
    )
    assert attributed.clicked.tolist() == [True, False]


def test_a_list_is_seen_where_the_shop_says_so(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea", "mug"), answer("r-2", "tea", hours=1)],
        [
            event("view_item_list", "tea", "mug", hours=2, recommendation_id="r-1"),
            event("view_item_list", "tea", hours=3),
        ],
    )
    assert attributed.seen.tolist() == [True, False]
    assert not attributed.clicked.any()


def test_a_click_without_a_name_or_on_another_item_belongs_to_none(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea")],
        [
            event("view_item", "tea", hours=1),
            event("view_item", "mug", hours=1, recommendation_id="r-1"),
            event("view_item", "tea", hours=1, recommendation_id="r-9"),
        ],
    )
    assert not attributed.clicked.any()


def test_a_purchase_belongs_to_the_newest_answer_that_showed_the_item(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea"), answer("r-2", "tea", hours=1), answer("r-3", "mug", hours=2)],
        [event("purchase", "tea", "kettle", hours=3, price=4.0)],
    )
    assert attributed.bought.tolist() == [False, True, False]
    assert attributed.revenue.tolist() == [0.0, 4.0, 0.0]
    assert attributed.orders.values.tolist() == [8.0]


def test_a_purchase_that_names_its_answer_counts_for_that_one(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea"), answer("r-2", "tea", hours=1)],
        [event("purchase", "tea", hours=3, price=4.0, recommendation_id="r-1")],
    )
    assert attributed.bought.tolist() == [True, False]


def test_what_comes_after_the_window_or_before_the_answer_does_not_count(follow) -> None:
    answers = [answer("r-1", "tea", hours=10)]
    events = [
        event("purchase", "tea", hours=9),
        event("add_to_cart", "tea", hours=10 + 24 * 3 + 1, recommendation_id="r-1"),
    ]
    attributed = follow(answers, events, rules=AttributionRules(window_days=3))
    assert not attributed.bought.any()
    assert not attributed.carted.any()


def test_the_outcome_of_a_visitor_who_logs_in_is_the_customers(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea", person="a:phone"), answer("r-2", "mug", person="u:ann", hours=2)],
        [
            event("identify", hours=1, anonymous_id="phone"),
            event("purchase", "tea", hours=3, price=2.0),
        ],
    )
    assert attributed.persons[0] == attributed.persons[1]
    assert attributed.bought.tolist() == [True, False]


def test_who_is_denied_is_nobody(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea"), answer("r-2", "tea", person=None)],
        [event("purchase", "tea", hours=1, price=3.0)],
        denied=["u:ann"],
    )
    assert attributed.persons.tolist() == [-1, -1]
    assert not attributed.bought.any()
    assert not len(attributed.orders.values)


def test_events_that_wait_to_be_archived_count_once(follow) -> None:
    bought = event("purchase", "tea", hours=1, price=3.0)
    clicked = event("select_item", "tea", hours=0.5, recommendation_id="r-1")
    attributed = follow([answer("r-1", "tea")], [bought], waiting=[bought, clicked])
    assert attributed.revenue.tolist() == [3.0]
    assert attributed.orders.values.tolist() == [3.0]
    assert attributed.clicked.tolist() == [True]


def test_two_lines_of_one_order_are_one_order(follow) -> None:
    attributed = follow(
        [answer("r-1", "tea", "mug")],
        [
            event("purchase", "tea", hours=1, price=3.0, transaction_id="o-1"),
            event("purchase", "mug", hours=1.1, price=5.0, transaction_id="o-1"),
        ],
    )
    assert attributed.orders.values.tolist() == [8.0]
    assert attributed.revenue.tolist() == [8.0]


def test_without_answers_there_is_nothing(follow) -> None:
    assert len(follow([], [event("purchase", "tea", hours=1)])) == 0


def test_without_events_nothing_followed(follow) -> None:
    attributed = follow([answer("r-1", "tea"), answer("r-2", placement="similar")], [])
    assert not np.any(attributed.clicked | attributed.carted | attributed.bought)
    assert attributed.placement_names.ids(attributed.placements) == ["for_you", "similar"]


def test_of_persons_who_do_not_allow_analytics_nothing_is_counted(follow) -> None:
    answers = [
        answer("r-1", "tea"),
        answer("r-2", "tea", person="u:bob", placement="cart", hours=1),
        answer("r-3", "tea", person="a:visitor", hours=2),
    ]
    events = [
        event("identify", hours=0.5, user_id="ann", anonymous_id="visitor"),
        event("select_item", "tea", hours=3, recommendation_id="r-1"),
        event("purchase", "tea", hours=4, price=5.0),
        event("select_item", "tea", hours=4, recommendation_id="r-2"),
        event("select_item", "tea", hours=5, recommendation_id="r-2", user_id="bob"),
        event("purchase", "tea", hours=5, price=3.0, user_id="bob"),
    ]
    left = follow(answers, events, unmeasured={"u:ann", "a:visitor"})
    assert [left.placement_names.ids()[code] for code in left.placements] == ["cart"]
    assert left.clicked.tolist() == [True]
    assert left.revenue.tolist() == [3.0]
    assert left.orders.values.tolist() == [3.0]
    only_ann = follow(answers[1:2], events[3:4], unmeasured={"u:ann"})
    assert only_ann.clicked.tolist() == [False]
    denied_too = follow(answers, events, unmeasured={"u:ann", "a:visitor"}, denied={"u:ann"})
    assert denied_too.revenue.tolist() == left.revenue.tolist()
