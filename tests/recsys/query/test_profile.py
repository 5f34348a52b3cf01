"""Declared profiles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recsys.errors import InvalidInput
from recsys.events.schema import Person
from recsys.query.profile import Profile, parse_profile


def test_a_profile_is_read_from_json_and_from_a_mapping() -> None:
    raw = {"user_id": "u", "country": "NL", "traits": {"size": "M", "age": 40, "vip": True}}
    profile = parse_profile(json.dumps(raw).encode())
    assert profile == parse_profile(raw)
    assert profile.person == Person("u")
    assert profile.traits == {"size": "M", "age": 40.0, "vip": True}


def test_a_profile_without_consent_says_nothing_about_it() -> None:
    assert parse_profile({"user_id": "u"}).consent is None


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({}, "user_id"),
        ({"country": "NL"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "u\x00"}, "user_id"),
        ({"user_id": "u", "email": "x@example.org"}, "email"),
        ({"user_id": "u", "traits": {"list": [1]}}, "traits[...]"),
        ({"user_id": "u", "consent": {"personalization": 1}}, "consent.personalization"),
        ({"user_id": "\ud800"}, "profile"),
    ],
)
def test_a_bad_profile_is_refused_with_its_field(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_profile(raw)
    assert caught.value.field == field


def test_what_is_no_json_object_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_profile(b"[")


def test_the_profile_of_nobody_names_nobody() -> None:
    assert Profile().person.key is None
