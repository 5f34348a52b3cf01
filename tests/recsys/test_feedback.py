"""A "no" holds until it is taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from recsys.feedback import SNOOZE, refused_items
from recsys.store import StoredEvent

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def said(action: str, item: str = "mug", *, ago: timedelta = timedelta(hours=1)) -> StoredEvent:
    return StoredEvent(item, "feedback", (NOW - ago).timestamp(), action=action)


@pytest.mark.parametrize("action", ["not_interested", "never_again", "wrong"])
def test_a_no_hides_the_item(action: str) -> None:
    assert refused_items([said(action)], now=NOW) == {"mug"}


@pytest.mark.parametrize("action", ["undo", "like"])
def test_a_no_can_be_taken_back(action: str) -> None:
    assert refused_items([said("never_again"), said(action)], now=NOW) == set()


def test_the_last_word_counts() -> None:
    assert refused_items([said("like"), said("not_interested")], now=NOW) == {"mug"}


def test_a_snoozed_item_rests_and_comes_back() -> None:
    assert refused_items([said("snooze")], now=NOW) == {"mug"}
    assert refused_items([said("snooze", ago=SNOOZE)], now=NOW) == set()


def test_a_no_to_one_item_says_nothing_of_another() -> None:
    heard = [said("not_interested"), said("like", "bowl")]
    assert refused_items(heard, now=NOW) == {"mug"}


def test_other_events_say_nothing() -> None:
    looked = StoredEvent("mug", "view_item", NOW.timestamp())
    assert refused_items([said("not_interested"), looked], now=NOW) == {"mug"}
