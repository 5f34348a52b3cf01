"""The bodies of requests and answers, as they are documented in /openapi.json."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from recsys.catalog.rules import Boosts, Rules
from recsys.events.schema import Country, Id, Text, Word
from recsys.recommend.explanation.language_files import Language

ItemField = Literal["title", "price", "list_price", "brand", "category", "kind", "attributes"]
ItemIds = Annotated[list[Id], Meta(max_length=1000)]
PlacementName = Annotated[str, Meta(min_length=1, max_length=64)]

MAX_EVENTS: Final = 500
MAX_ITEMS: Final = 1000
MAX_PROFILES: Final = 500


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who asks, as far as the shop knows. Nothing at all is a stranger."""

    user_id: Id | None = None
    anonymous_id: Id | None = None
    session_id: Id | None = None
    account_id: Id | None = None


class RequestConsent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the person agreed to, as the page knows it now; a refusal on record outweighs it."""

    personalization: bool


class RequestContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The moment and the place; `hour` and `weekday` (0 is Monday) are those of whoever asks."""

    channel: Word | None = None
    device: Word | None = None
    country: Country | None = None
    hour: Annotated[int, Meta(ge=0, le=23)] | None = None
    weekday: Annotated[int, Meta(ge=0, le=6)] | None = None
    referrer: Text | None = None
    search_term: Text | None = None
    values: dict[Word, Text | float | bool] | None = None


class PlacementRequest(Rules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One place on the page: `items` are those of the page or the cart; its rules hold beside those
    of the placement's configuration."""

    placement: PlacementName
    k: Annotated[int, Meta(ge=1, le=100)] = 10
    items: ItemIds = msgspec.field(default_factory=list)


class RecommendationsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One or several places of one page; no item comes twice.

    `continue_from` names earlier answers by `recommendation_id`: nothing that they showed comes
    again. `diagnostics` says what each rule did.
    """

    user: User = User()
    placements: Annotated[list[PlacementRequest], Meta(min_length=1, max_length=10)]
    consent: RequestConsent | None = None
    context: RequestContext = RequestContext()
    explain: bool = False
    language: Language | None = None
    social_proof: bool = False
    diagnostics: bool = False
    fields: Annotated[list[ItemField], Meta(max_length=10)] = []
    continue_from: Annotated[list[Id], Meta(max_length=20)] = []


class RerankItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One item of a search result or listing page, in the engine's order."""

    item_id: Id
    score: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None


class RerankRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list to put into the person's own order; `boost` lifts and buries, and no item is lost."""

    user: User = User()
    items: Annotated[list[RerankItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    query: Text | None = None
    boost: Boosts = []
    consent: RequestConsent | None = None
    context: RequestContext = RequestContext()
    language: Language | None = None


class EventsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A batch of events; each is read by itself, so that one bad event harms no other."""

    events: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_EVENTS)]


class ItemsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Catalogue items to put; each replaces the item of its id whole."""

    items: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_ITEMS)]


class StockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """New stock and prices; what an entry leaves out stays as it is."""

    items: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_ITEMS)]


class ProfilesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Profiles to declare; what a profile leaves out stays as it is."""

    profiles: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_PROFILES)]


class ReasonAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an item is shown: a code for programs, a text for people, and the evidence."""

    code: str
    text: str
    share: float
    item_id: str | UnsetType = UNSET
    trait: str | UnsetType = UNSET
    facts: dict[str, str | int | float] | UnsetType = UNSET


class SocialProofAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many distinct customers bought an item in the last `days` before `as_of`, and how it was
    rated; what too few did or said is left out."""

    as_of: datetime
    customers: int | UnsetType = UNSET
    days: int | UnsetType = UNSET
    rating: float | UnsetType = UNSET
    ratings: int | UnsetType = UNSET


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of an answer; `position` counts from 0, `source` is the model that weighed most."""

    item_id: str
    score: float
    source: str
    source_text: str
    position: int
    reasons: list[ReasonAnswer] | UnsetType = UNSET
    social_proof: SocialProofAnswer | UnsetType = UNSET
    title: str | UnsetType = UNSET
    price: float | UnsetType | None = UNSET
    list_price: float | UnsetType | None = UNSET
    brand: str | UnsetType | None = UNSET
    category: list[str] | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    attributes: dict[str, str | float | bool | list[str]] | UnsetType = UNSET


class RuleEffect(msgspec.Struct, frozen=True, kw_only=True):
    """How many candidates a rule removed from the list, or moved in it."""

    rule: str
    removed: int
    moved: int


class DiagnosticsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many items each model puts forward, and what the rules did with them, in order."""

    candidates: dict[str, int]
    rules: list[RuleEffect]


class PlacementAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place's list; `level` says how personal it is, null for an empty list. `fallback` names
    the furthest source that was needed beyond the placement's own models, null for none."""

    placement: str
    level: str | None
    fallback: str | None
    items: list[RecommendedItem]
    diagnostics: DiagnosticsAnswer | UnsetType = UNSET


class RecommendationsAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Send `recommendation_id` back with the events that follow from this answer. `continues` names
    the earlier answers that were found, where `continue_from` asked for any."""

    recommendation_id: str
    model_version: str
    variant: str
    degraded: bool
    placements: list[PlacementAnswer]
    continues: list[str] | UnsetType = UNSET


class RankedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of the list in its new place; positions count from 0."""

    item_id: str
    position: int
    original_position: int
    score: float
    source: str
    source_text: str


class RerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every item that was sent, in the person's order."""

    recommendation_id: str
    model_version: str
    variant: str
    degraded: bool
    items: list[RankedItem]


class EventResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one event of the batch, in the batch's order."""

    event_id: str | None
    status: Literal["accepted", "duplicate", "rejected", "ignored"]
    field: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted means durable: it is on disk when this answer is sent."""

    results: list[EventResult]
    accepted: int
    duplicates: int
    rejected: int
    ignored: int = 0
    """Sound messages of other systems that tell nothing an answer could use."""


class PutResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item or profile of the batch, in the batch's order."""

    id: str | None
    status: Literal["accepted", "rejected"]
    field: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class PutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted means durable, and in force in every worker within a second."""

    results: list[PutResult]
    accepted: int
    rejected: int


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong with a request, and what to send instead."""

    field: str
    remedy: str
    value: str | UnsetType = UNSET


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details, the one shape of every error."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | UnsetType = UNSET


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the process lives or is ready, and with which versions."""

    status: str
    model_versions: dict[str, str] | UnsetType = UNSET
