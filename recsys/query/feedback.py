"""Explicit feedback: refusals and likes of items, brands and categories, and the rules of them."""

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
"""How long a snooze lasts without `days`."""
INTEREST_FACTOR: Final = 2.0
"""Factor on the score of an item of a brand, category or attribute that the person likes."""
INTEREST_SHARE: Final = 3
"""One in this many positions of a list is reserved for the person's interests."""
PERSON: Final = "person"
"""The name of a person's own rules in diagnostics."""


@dataclass(frozen=True, slots=True)
class FeedbackState:
    """The latest feedback on each item, brand and category.

    `refused…` must not be shown now; `disliked` are the items among them that are not only snoozed.
    """

    refused: frozenset[str] = frozenset()
    refused_brands: frozenset[str] = frozenset()
    refused_categories: frozenset[str] = frozenset()
    disliked: frozenset[str] = frozenset()
    liked: frozenset[str] = frozenset()
    liked_brands: frozenset[str] = frozenset()
    liked_categories: frozenset[str] = frozenset()


NO_FEEDBACK: Final = FeedbackState()


def feedback_state(events: Sequence[StoredEvent], *, now: datetime) -> FeedbackState:
    """The state at `now` after these events (oldest first); those of other kinds are ignored.

    `not_interested`, `never_again` and `wrong` hold until `undo` or `like`; `snooze` holds for its
    days, else SNOOZE; `like` holds until `undo` or a refusal.
    """
    latest = {_target(event): event for event in events if event.kind == "feedback"}
    if not latest:
        return NO_FEEDBACK
    names: dict[str, set[str]] = {}
    for (target, name), event in latest.items():
        if event.action == "like":
            names.setdefault(f"liked{target}", set()).add(name)
        elif event.action in REFUSALS:
            names.setdefault(f"refused{target}", set()).add(name)
            if not target:
                names.setdefault("disliked", set()).add(name)
        elif event.action == "snooze" and _is_snoozed(event, now):
            names.setdefault(f"refused{target}", set()).add(name)
    return FeedbackState(**{field: frozenset(values) for field, values in names.items()})


def personal_rules(
    feedback: FeedbackState, preferences: Preferences = NO_PREFERENCES, *, n: int | None = None
) -> tuple[Rule, ...]:
    """Refused brands and categories as an exclusion, interests as a boost; none where there are
    neither.

    In a list of `n` items a share of the positions is reserved for interests (a quota). Refused
    items are not among the rules: they are in `FeedbackState.refused`.
    """
    excluded = _excluded(feedback, preferences)
    interest = _interest(feedback, preferences)
    if excluded is None and interest is None:
        return ()
    boost = [] if interest is None else [Boost(where=interest, factor=INTEREST_FACTOR)]
    quota = []
    if interest is not None and n is not None and n >= INTEREST_SHARE:
        quota = [Quota(where=interest, at_least=n // INTEREST_SHARE)]
    return (
        Rule(name=PERSON, exclude=[] if excluded is None else excluded, boost=boost, quota=quota),
    )


def _target(event: StoredEvent) -> tuple[str, str]:
    if event.brand is not None:
        return "_brands", event.brand
    if event.category is not None:
        return "_categories", event.category
    return "", event.item_id


def _is_snoozed(event: StoredEvent, now: datetime) -> bool:
    days = SNOOZE if event.days is None else timedelta(days=event.days)
    return event.time + days.total_seconds() > now.timestamp()


def _excluded(feedback: FeedbackState, preferences: Preferences) -> Where | None:
    brands, categories = set(feedback.refused_brands), set(feedback.refused_categories)
    if preferences.exclusions is not None:
        brands.update(preferences.exclusions.brands)
        categories.update(map(CATEGORY_SEPARATOR.join, preferences.exclusions.categories))
    return _any_of(brands, categories, {})


def _interest(feedback: FeedbackState, preferences: Preferences) -> Where | None:
    brands, categories = set(feedback.liked_brands), set(feedback.liked_categories)
    if preferences.interests is None:
        return _any_of(brands, categories, {})
    brands.update(preferences.interests.brands)
    categories.update(map(CATEGORY_SEPARATOR.join, preferences.interests.categories))
    return _any_of(brands, categories, preferences.interests.attributes)


def _any_of(
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
