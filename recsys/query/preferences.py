"""`Preferences`: interests, exclusions, whose order a person wants, personalisation on or off."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from recsys.events.schema import (
    CATEGORY_SEPARATOR,
    CategoryPath,
    Consent,
    Id,
    Person,
    Text,
    Word,
)
from recsys.query.profile import Profile

Order = Literal["shop", "segment", "own"]
"""Whose order a person wants: the shop's (nothing of the person is used), that of their segment
(declared traits are used, the history is not), or their own."""


class Interests(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """What the person wants to see more of; a category stands for everything below it."""

    categories: Annotated[list[CategoryPath], msgspec.Meta(max_length=50)] = []
    brands: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    attributes: Annotated[
        dict[Word, Annotated[list[Text], msgspec.Meta(max_length=50)]],
        msgspec.Meta(max_length=20),
    ] = {}


class Exclusions(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """What must not be shown; a category stands for everything below it."""

    items: Annotated[list[Id], msgspec.Meta(max_length=1000)] = []
    brands: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    categories: Annotated[list[CategoryPath], msgspec.Meta(max_length=50)] = []


class Preferences(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """One person's preferences; sending them again replaces what they name, None leaves it.

    `personalization` false switches all personalisation off until the person switches it on again:
    no consent that a page sends outweighs it. True is consent. `consent` states consent alone.
    """

    user_id: Id | None = None
    anonymous_id: Id | None = None
    personalization: bool | None = None
    order: Order | None = None
    interests: Interests | None = None
    exclusions: Exclusions | None = None
    consent: Consent | None = None

    @property
    def person(self) -> Person:
        """Whose preferences they are."""
        return Person(self.user_id, self.anonymous_id)

    @property
    def wishes(self) -> Preferences:
        """Order, interests and exclusions alone, without ids, consent and switch."""
        return Preferences(order=self.order, interests=self.interests, exclusions=self.exclusions)


NO_PREFERENCES: Final = Preferences()
"""Those of a person who has stated none."""


def preferred_over(below: Preferences, above: Preferences) -> Preferences:
    """The preferences of `below`, replaced by those that `above` names."""
    return Preferences(
        order=above.order or below.order,
        interests=below.interests if above.interests is None else above.interests,
        exclusions=below.exclusions if above.exclusions is None else above.exclusions,
    )


INTEREST: Final = "interest in "
"""Prefix of the trait that stands for an interest in a profile."""


def with_interests(profile: Profile, preferences: Preferences) -> Profile:
    """The profile with each declared interest as a trait, in training and in serving: models learn
    from interests as from any other trait."""
    interests = preferences.interests
    if interests is None:
        return profile
    names = [*interests.brands, *map(CATEGORY_SEPARATOR.join, interests.categories)]
    traits = {f"{INTEREST}{name}": True for name in names}
    return msgspec.structs.replace(profile, traits={**profile.traits, **traits})
