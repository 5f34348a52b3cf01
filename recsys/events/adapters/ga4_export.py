"""Google Analytics 4: rows of its BigQuery export (`events_YYYYMMDD`) as canonical events.

As JSON lines (`bq extract`, 64-bit numbers in quotes) or Parquet; one row is one event, its
parameters a list of keys with a value in the column of their type. The export has no consent to
personalisation: whoever imports says it, or names the parameter or user property in which the
site recorded it. A row whose `privacy_info` says No to analytics is linked to no person, whatever
consent the importer states.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from recsys.events.adapters.canonical import (
    ForeignId,
    Ignored,
    Translated,
    as_id,
    context_of,
    moment,
    read_lax,
)
from recsys.events.adapters.ga4 import (
    ABOUT_VISITS,
    GA4Item,
    GA4Params,
    canonical_event,
)

Scalar = str | int | float | bool | None


class GA4Value(msgspec.Struct, frozen=True):
    """A value in the column of its type; the others are null or left out."""

    string_value: str | None = None
    int_value: int | None = None
    float_value: float | None = None
    double_value: float | None = None

    @property
    def value(self) -> Scalar:
        """The value of the column that is filled."""
        there = (self.string_value, self.int_value, self.float_value, self.double_value)
        return next((value for value in there if value is not None), None)


class GA4Entry(msgspec.Struct, frozen=True):
    """One parameter or user property."""

    key: str
    value: GA4Value = GA4Value()


class GA4RowItem(msgspec.Struct, frozen=True, kw_only=True):
    """One element of the row's `items`."""

    item_id: ForeignId = None
    price: float | None = None
    quantity: float | None = None
    item_list_index: ForeignId = None
    item_list_id: ForeignId = None
    item_name: str | None = None
    item_brand: str | None = None
    item_category: str | None = None
    item_category2: str | None = None
    item_category3: str | None = None
    item_category4: str | None = None
    item_category5: str | None = None


class GA4Ecommerce(msgspec.Struct, frozen=True):
    """The row's `ecommerce` record."""

    transaction_id: ForeignId = None


class GA4Privacy(msgspec.Struct, frozen=True):
    """Yes, No or Unset."""

    analytics_storage: str | None = None


class GA4RowDevice(msgspec.Struct, frozen=True):
    """The device of the event."""

    category: str | None = None


class GA4RowGeo(msgspec.Struct, frozen=True):
    """The location of the event; the country by its English name."""

    country: str | None = None


class GA4Row(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of the export that mean something here; all others are left."""

    event_name: str
    event_timestamp: int
    event_params: list[GA4Entry] | None = None
    user_properties: list[GA4Entry] | None = None
    user_id: ForeignId = None
    user_pseudo_id: ForeignId = None
    event_bundle_sequence_id: int | None = None
    batch_event_index: int | None = None
    batch_page_id: int | None = None
    batch_ordering_id: int | None = None
    items: list[GA4RowItem] | None = None
    ecommerce: GA4Ecommerce | None = None
    privacy_info: GA4Privacy | None = None
    device: GA4RowDevice | None = None
    geo: GA4RowGeo | None = None
    platform: str | None = None


def row_event(
    row: GA4Row,
    *,
    ignore: Collection[str] = (),
    consent_key: str | None = None,
    granted: Collection[str] = (),
) -> Translated:
    """The row as a canonical event; its `consent` only where `consent_key` is in the row.

    `ignore`: event names to leave out beside GA4's own about visits. `consent_key` is a parameter
    or user property, `granted` its values that mean yes; any other value is a refusal.
    InvalidEvent where the row's time is invalid or a parameter that is used has another type.
    """
    if row.event_name in ABOUT_VISITS or row.event_name in ignore:
        return Ignored("event about the visit" if row.event_name in ABOUT_VISITS else "to ignore")
    params = {entry.key: entry.value.value for entry in row.event_params or ()}
    known = read_lax(
        {name: value for name, value in params.items() if name in GA4Params.__struct_fields__},
        GA4Params,
    )
    transaction = as_id(row.ecommerce.transaction_id) if row.ecommerce else None
    known = msgspec.structs.replace(
        known,
        items=[_item(item) for item in row.items or ()],
        transaction_id=transaction or as_id(known.transaction_id),
    )
    analytics_denied = row.privacy_info is not None and row.privacy_info.analytics_storage == "No"
    client = None if analytics_denied else as_id(row.user_pseudo_id)
    return canonical_event(
        row.event_name,
        known,
        made_from=(
            row.user_pseudo_id,
            row.event_timestamp,
            row.event_name,
            row.event_bundle_sequence_id,
            row.batch_page_id,
            row.batch_ordering_id,
            row.batch_event_index,
        ),
        timestamp=moment(row.event_timestamp),
        client=client,
        user=None if analytics_denied else as_id(row.user_id),
        consent=None if analytics_denied else _consent(row, params, consent_key, granted),
        context=context_of(
            device=row.device.category if row.device else None,
            country=row.geo.country if row.geo else None,
            channel=_CHANNELS.get(row.platform or ""),
            referrer=known.page_referrer,
        ),
    )


_CHANNELS: Final = {"WEB": "web", "IOS": "app", "ANDROID": "app"}


def _item(item: GA4RowItem) -> GA4Item:
    # The export writes the index as text, "(not set)" where there is none.
    index = str(item.item_list_index or "")
    return GA4Item(
        item_id=item.item_id,
        price=item.price,
        quantity=item.quantity,
        index=int(index) if index.isascii() and index.isdigit() else None,
        item_list_id=item.item_list_id,
    )


def _consent(
    row: GA4Row, params: Mapping[str, Scalar], key: str | None, granted: Collection[str]
) -> dict[str, bool] | None:
    if key is None:
        return None
    value = params.get(key)
    if value is None:
        value = _property(row.user_properties or (), key)
    if value is None:
        return None
    agreed = str(value) in granted
    return {"personalization": agreed, "analytics": agreed}


def _property(properties: Sequence[GA4Entry], key: str) -> Scalar:
    return next((entry.value.value for entry in properties if entry.key == key), None)
