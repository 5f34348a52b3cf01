"""A "no" holds until it is taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from recsys.catalog.columns import ItemColumns
from recsys.catalog.items import Item
from recsys.catalog.rules import Where
from recsys.ids import Vocabulary
from recsys.query.feedback import SNOOZE, feedback_state, personal_rules
from recsys.query.history import StoredEvent
from recsys.query.preferences import Exclusions, Interests, Preferences

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def refused_items(events: list[StoredEvent], *, now: datetime) -> set[str]:
    return set(feedback_state(events, now=now).refused)


def feedback(action: str, item: str = "mug", *, ago: timedelta = timedelta(hours=1)) -> StoredEvent:
    return StoredEvent(item, "feedback", (NOW - ago).timestamp(), action=action)


@pytest.mark.parametrize("action", ["not_interested", "never_again", "wrong"])
def test_a_no_hides_the_item(action: str) -> None:
    assert refused_items([feedback(action)], now=NOW) == {"mug"}


@pytest.mark.parametrize("action", ["undo", "like"])
def test_a_no_can_be_taken_back(action: str) -> None:
    assert refused_items([feedback("never_again"), feedback(action)], now=NOW) == set()


def test_the_last_word_counts() -> None:
    assert refused_items([feedback("like"), feedback("not_interested")], now=NOW) == {"mug"}


def test_a_snoozed_item_rests_and_comes_back() -> None:
    assert refused_items([feedback("snooze")], now=NOW) == {"mug"}
    assert refused_items([feedback("snooze", ago=SNOOZE)], now=NOW) == set()


def test_a_no_to_one_item_says_nothing_of_another() -> None:
    events = [feedback("not_interested"), feedback("like", "bowl")]
    assert refused_items(events, now=NOW) == {"mug"}


def test_other_events_say_nothing() -> None:
    looked = StoredEvent("mug", "view_item", NOW.timestamp())
    assert refused_items([feedback("not_interested"), looked], now=NOW) == {"mug"}


def about(action: str, **target: object) -> StoredEvent:
    return StoredEvent("", "feedback", NOW.timestamp() - 60, action=action, **target)


def test_a_snooze_lasts_as_long_as_it_says() -> None:
    week = StoredEvent("mug", "feedback", (NOW - timedelta(days=6)).timestamp(), action="snooze",
                       days=7.0)  # fmt: skip
    assert feedback_state([week], now=NOW).refused == {"mug"}
    assert feedback_state([week], now=NOW + timedelta(days=2)).refused == frozenset()


def test_a_no_to_a_brand_or_a_category_can_be_taken_back() -> None:
    no = [about("never_again", brand="Harbour"), about("not_interested", category="Home > Mugs")]
    refusing = feedback_state(no, now=NOW)
    assert refusing.refused_brands == {"Harbour"}
    assert refusing.refused_categories == {"Home > Mugs"}
    assert refusing.disliked == frozenset()
    undone = feedback_state([*no, about("undo", brand="Harbour")], now=NOW)
    assert undone.refused_brands == frozenset()
    assert undone.refused_categories == {"Home > Mugs"}


ITEMS = [
    Item(item_id="mug", category=["Home", "Mugs"], brand="Harbour"),
    Item(item_id="bowl", category=["Home", "Bowls"], brand="Quay", attributes={"colour": "blue"}),
    Item(item_id="hat", category=["Clothes"], brand="Harbour"),
]


def matching(where: Where) -> list[str]:
    mask = ItemColumns(ITEMS, Vocabulary([item.item_id for item in ITEMS])).mask(where)
    return [item.item_id for item, here in zip(ITEMS, mask.tolist(), strict=True) if here]


def test_words_and_preferences_become_rules_of_ones_own() -> None:
    state = feedback_state(
        [about("never_again", brand="Harbour"), about("like", brand="Quay")], now=NOW
    )
    wishes = Preferences(
        exclusions=Exclusions(categories=[["Home", "Bowls"]]),
        interests=Interests(categories=[["Home"]], attributes={"colour": ["blue"]}),
    )
    (rule,) = personal_rules(state, wishes, n=9)
    assert isinstance(rule.exclude, Where)
    assert matching(rule.exclude) == ["mug", "bowl", "hat"]
    assert matching(rule.boost[0].where) == ["mug", "bowl"]
    assert rule.quota[0].at_least == 3
    (rule,) = personal_rules(feedback_state([], now=NOW), wishes)
    assert isinstance(rule.exclude, Where)
    assert matching(rule.exclude) == ["bowl"]
    assert rule.quota == []


def test_who_has_said_nothing_has_no_rules() -> None:
    assert personal_rules(feedback_state([feedback("never_again")], now=NOW)) == ()
