"""Frames of items and of profiles (pandas or pyarrow) as catalogue items and profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import pandas as pd

from recsys.catalog.items import Item, parse_item
from recsys.dataset.flat_rows import item_fields, profile_fields
from recsys.dataset.frames import Frame, check_columns, rows_of
from recsys.errors import InvalidInput
from recsys.query.profile import Profile, parse_profile

ITEM_COLUMNS: Final[Mapping[str, str]] = {
    "item_id": "the item (required)",
    "title": "as a customer reads it",
    "category": "a path from the widest to the narrowest: a list, or text as in Home > Kitchen",
    "brand": "the maker",
    "price": "of one piece, in the shop's currency",
    "list_price": "before a reduction; a price below it is a sale",
    "stock": "pieces; empty where they are not counted",
    "withdrawn": "true for what is never shown",
    "available_from": "first moment of its sale, with a zone",
    "available_until": "end of its sale, with a zone",
    "kind": "product (default), article, banner or offer",
    "variant_of": "the product that it is a size or colour of",
    "attributes": "what else is known: a mapping",
}
PROFILE_COLUMNS: Final[Mapping[str, str]] = {
    "user_id": "the customer; this or anonymous_id is required",
    "anonymous_id": "the visitor",
    "country": "where the person lives",
    "customer_group": "as the shop names it",
    "account_id": "the company or household",
    "consent": "a mapping with personalization and analytics, true or false",
    "traits": "what else the person declared: a mapping",
}

_Parsed = TypeVar("_Parsed", Item, Profile)


def item_list(items: Frame) -> list[Item]:
    """The catalogue in a frame; InvalidInput names the row, the column and the value."""
    return list(_parsed(items, "items", ITEM_COLUMNS, lambda row: parse_item(item_fields(row))))


def profiles_by_person(profiles: Frame) -> dict[str, Profile]:
    """Person key → profile; InvalidInput names the row, the column and the value."""
    parsed = _parsed(
        profiles, "profiles", PROFILE_COLUMNS, lambda row: parse_profile(profile_fields(row))
    )
    return {profile.person.key: profile for profile in parsed if profile.person.key is not None}


def frame_of_items(items: Sequence[Item]) -> pd.DataFrame:
    """Catalogue items with the columns of ITEM_COLUMNS, indexed by `item_id`."""
    rows = [{name: getattr(item, name) for name in ITEM_COLUMNS} for item in items]
    return pd.DataFrame(rows, columns=list(ITEM_COLUMNS)).set_index("item_id")


def _parsed(
    frame: Frame,
    what: str,
    columns: Mapping[str, str],
    parse: Callable[[Mapping[str, object]], _Parsed],
) -> Iterator[_Parsed]:
    names, rows = rows_of(frame, what)
    required = ("item_id",) if what == "items" else ()
    check_columns(what, [name.partition(".")[0] for name in names], columns, required=required)
    for number, row in enumerate(rows):
        try:
            yield parse(row)
        except InvalidInput as error:
            raise InvalidInput(
                f"{what} column {error.field!r} of row {number}", error.value, error.remedy
            ) from error
