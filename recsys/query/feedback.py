"""What a person has said: a "no" is taken seriously until it is taken back, a "yes" is a favour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from recsys.catalog.rules import Boost, Condition, NameTest, PathTest, Quota, Rule, ValueTest, Where
from recsys.events.schema import CATEGORY_SEPARATOR
from recsys.query.history import StoredEvent
from recsys.query.preferences import NO_PREFERENCES, Preferences

REFUSALS: Final = frozenset({"not_interested", "never_again", "wrong"})
SNOOZE: Final = timedelta(days=30)
"""How long a snooze lasts that says nothing of it."""
INTEREST_FACTOR: Final = 2.0
"""What a score is multiplied with where a person follows the brand, category or attribute."""
INTEREST_SHARE: Final = 3
"""One of so many places of a list is meant for a person's interests."""
PERSON: Final = "person"
"""The name of a person's own rules in diagnostics."""


@dataclass(frozen=True, slots=True)
class FeedbackState:
    """The last word about each item, brand and category.

    `refused…` must not be shown now; `disliked` are the items among them that are not only snoozed.
    """

    refused: frozenset[str] = frozenset()
    refused_brands: frozenset[str] = frozenset()
    refused_categories: frozenset[str] = frozenset()
    disliked: frozenset[str] = frozenset()
    liked: frozenset[str] = frozenset()
    liked_brands: frozenset[str] = frozenset()
    liked_categories: frozenset[str] = frozenset()


NOTHING_SAID: Final = FeedbackState()


def feedback_state(events: Sequence[StoredEvent], *, now: datetime) -> FeedbackState:
    """The last words in a history; events are oldest first.

    `not_interested`, `never_again` and `wrong` hold until `undo` or `like`; `snooze` holds for its
    days, else SNOOZE; `like` holds until `undo` or a refusal.
    """
    last = {_target(event): event for event in events if event.kind == "feedback"}
    if not last:
        return NOTHING_SAID
    found: dict[str, set[str]] = {}
    for (about, name), event in last.items():
        if event.action == "like":
            found.setdefault(f"liked{about}", set()).add(name)
        elif event.action in REFUSALS:
            found.setdefault(f"refused{about}", set()).add(name)
            if not about:
                found.setdefault("disliked", set()).add(name)
        elif event.action == "snooze" and _rests(event, now):
            found.setdefault(f"refused{about}", set()).add(name)
    return FeedbackState(**{name: frozenset(names) for name, names in found.items()})


def personal_rules(
    said: FeedbackState, preferences: Preferences = NO_PREFERENCES, *, places: int | None = None
) -> tuple[Rule, ...]:
    """A person's own words as rules: what is excluded is never shown, interests weigh more.

    With `places`, the length of the list, some of it is kept for interests, as far as there is
    anything to show. Singly refused items are not among the rules (`FeedbackState.refused`).
    """
    excluded = _excluded(said, preferences)
    interest = _interest(said, preferences)
    if excluded is None and interest is None:
        return ()
    boost = [] if interest is None else [Boost(where=interest, factor=INTEREST_FACTOR)]
    quota = []
    if interest is not None and places is not None and places >= INTEREST_SHARE:
        quota = [Quota(where=interest, at_least=places // INTEREST_SHARE)]
    return (
        Rule(name=PERSON, exclude=[] if excluded is None else excluded, boost=boost, quota=quota),
    )


def _target(event: StoredEvent) -> tuple[str, str]:
    if event.brand is not None:
        return "_brands", event.brand
    if event.category is not None:
        return "_categories", event.category
    return "", event.item_id


def _rests(event: StoredEvent, now: datetime) -> bool:
    days = SNOOZE if event.days is None else timedelta(days=event.days)
    return event.time + days.total_seconds() > now.timestamp()


def _excluded(said: FeedbackState, preferences: Preferences) -> Where | None:
    brands, categories = set(said.refused_brands), set(said.refused_categories)
    if preferences.exclusions is not None:
        brands.update(preferences.exclusions.brands)
        categories.update(map(CATEGORY_SEPARATOR.join, preferences.exclusions.categories))
    return _one_of(brands, categories, {})


def _interest(said: FeedbackState, preferences: Preferences) -> Where | None:
    brands, categories = set(said.liked_brands), set(said.liked_categories)
    if preferences.interests is None:
        return _one_of(brands, categories, {})
    brands.update(preferences.interests.brands)
    categories.update(map(CATEGORY_SEPARATOR.join, preferences.interests.categories))
    return _one_of(brands, categories, preferences.interests.attributes)


def _one_of(
    brands: set[str], categories: set[str], attributes: dict[str, list[str]]
) -> Where | None:
    parts: list[Condition] = []
    if brands:
        parts.append(Condition(brand=NameTest(in_=sorted(brands))))
    if categories:
        parts.append(Condition(category=PathTest(in_=sorted(categories))))
    for name, values in sorted(attributes.items()):
        if values:
            parts.append(Condition(attributes={name: ValueTest(in_=list(values))}))
    return Where(any=parts) if parts else None
