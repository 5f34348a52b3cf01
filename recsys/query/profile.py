"""`Profile`: what a shop declares about a person. Never a name or an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from recsys.errors import InvalidInput
from recsys.events.schema import Consent, Country, Id, Person, Text, Word, parse_struct


class Profile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """One person's declared profile; sending it again replaces what it names.

    `consent` None leaves the consent that is on record as it is.
    """

    user_id: Id | None = None
    anonymous_id: Id | None = None
    country: Country | None = None
    customer_group: Word | None = None
    account_id: Id | None = None
    consent: Consent | None = None
    traits: Annotated[dict[Word, Text | float | bool], msgspec.Meta(max_length=64)] = {}

    @property
    def person(self) -> Person:
        """Whose profile it is."""
        return Person(self.user_id, self.anonymous_id)


UNKNOWN: Final = Profile()
"""The profile of a person about whom nothing was declared."""


def parse_profile(raw: bytes | msgspec.Raw | Mapping[str, Any]) -> Profile:
    """The profile in `raw` (JSON text or a mapping); InvalidInput names field, value and remedy."""
    profile = parse_struct(raw, _decoder, whole="profile")
    if profile.person.key is None:
        raise InvalidInput("user_id", None, "a profile names a user_id or an anonymous_id")
    return profile


_decoder: Final = msgspec.json.Decoder(Profile)
