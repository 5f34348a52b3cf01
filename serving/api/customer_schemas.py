"""Schemas of feedback, preferences, access and erasure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from recsys.events.schema import CategoryPath, Days, FeedbackAction, Id, Timestamp, Word
from recsys.query.preferences import Exclusions, Interests, Order
from recsys.store.erasure import Removed
from serving.api.schemas import RequestConsent, User


class FeedbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person says of an item, a brand or a category (and all below it).

    `event_id` makes it safe to send twice; without one, each call is a new word. `days` is how long
    a snooze lasts, 30 where it is left out.
    """

    user: User
    action: FeedbackAction
    item_id: Id | None = None
    brand: Word | None = None
    category: CategoryPath | None = None
    days: Days | None = None
    event_id: Id | None = None
    timestamp: Timestamp | None = None
    recommendation_id: Id | None = None
    consent: RequestConsent | None = None


class FeedbackAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Accepted means durable; `in_force` says whether the next answer heeds it."""

    event_id: str
    status: Literal["accepted", "duplicate"]
    in_force: bool
    reason: str | UnsetType = UNSET


class PreferencesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person prefers; what is left out stays as it is.

    `personalization` false switches everything personal off from the next answer on, until true
    switches it on again. Everything else needs consent, on record or in `consent`.
    """

    user: User
    personalization: bool | None = None
    order: Order | None = None
    interests: Interests | None = None
    exclusions: Exclusions | None = None
    consent: RequestConsent | None = None


class PersonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose it is."""

    user: User


class PreferencesAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The preferences on record. `personalization` is false where the person has switched it off or
    refuses, true with consent, and null where nothing is known.

    `in_force` false says that what was sent was not kept, and `reason` why.
    """

    personalization: bool | None
    order: Order
    interests: Interests
    exclusions: Exclusions
    in_force: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class ExportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose data; `cursor` is the `next` of the page before."""

    user: User
    cursor: (
        Annotated[str, Meta(max_length=40, pattern=r"^[a-z_]+:[0-9]{1,9}[.][0-9]{1,9}$(?!\n)")]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=2000)] = 500


class ExportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of everything that is held about a person. Each record names its place: `person`
    (profile, preferences, consent, logins), `history`, `waiting` and `event_log` (events),
    `answers` (lists that were shown), `rejected` (where a file of an import could not be read)."""

    records: list[dict[str, Any]]
    next: str | None
    """The cursor of the next page; null at the end."""


class HeldRows(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a published bundle stores rows of the person; those that serve leave them out."""

    model_version: str
    holds_rows: bool
    served: bool


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the event log is cleared; `rows` is null until it is done."""

    state: Literal["pending", "done"]
    rows: int | None
    done_at: str | None


class EraseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of an erasure; erasing again tells how far it has come."""

    receipt: str
    erased_at: str
    removed: Removed
    event_log: LogState
    bundles: list[HeldRows]
    model_registry: str
    """What the versions in MLflow hold of persons."""
    remaining: list[str]
    """What is still to be done, and by whom."""
    verify: str
