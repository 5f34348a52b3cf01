"""The calls that a client can make: method, path, body, and what comes back.

Free of any transport, so that the sync and the async client say the same. A call that a page may
need has a fallback: what to show while the service is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

import msgspec

from serving.api.customer_schemas import (
    EraseAnswer,
    ExportAnswer,
    FeedbackAnswer,
    PreferencesAnswer,
)
from serving.api.schemas import (
    EventsAnswer,
    PlacementAnswer,
    PutAnswer,
    RankedItem,
    RecommendationsAnswer,
    RecommendedItem,
    RerankAnswer,
)

if TYPE_CHECKING:
    from serving.api.result_schemas import ExperimentsAnswer, KpiAnswer

T = TypeVar("T")
Body = Mapping[str, Any]

AWAY: Final = "away"
"""The source of items that the shop named itself for this case, and the version of such answers."""
AWAY_TEXT: Final = "Popular now"


class RecommendOptions(TypedDict, total=False):
    """What else a page may ask; see RecommendationsRequest in /openapi.json."""

    consent: Body
    context: Body
    explain: bool
    language: str
    social_proof: bool
    diagnostics: bool
    fields: Sequence[str]
    continue_from: Sequence[str]


class RerankOptions(TypedDict, total=False):
    """What else a list may ask; see RerankRequest in /openapi.json."""

    query: str
    boost: Sequence[Body]
    consent: Body
    context: Body
    language: str


class FeedbackOptions(TypedDict, total=False):
    """Of what it is said, and how long it holds; see FeedbackRequest in /openapi.json."""

    item_id: str
    brand: str
    category: Sequence[str]
    days: float
    event_id: str
    timestamp: str
    recommendation_id: str
    consent: Body


class PreferencesOptions(TypedDict, total=False):
    """What is preferred; see PreferencesRequest in /openapi.json."""

    personalization: bool
    order: str
    interests: Body
    exclusions: Body
    consent: Body


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `repeatable`: doing it twice is doing it once, so that it may be sent again
    after an answer was lost."""

    method: str
    path: str
    body: Body | None
    answer: type[T]
    repeatable: bool = True
    fallback: Callable[[], T] | None = None

    @property
    def content(self) -> bytes:
        """The body as JSON; empty where there is none."""
        return b"" if self.body is None else msgspec.json.encode(self.body)


def recommendations(
    user: Body, placements: Sequence[Body], options: RecommendOptions, or_else: Sequence[str]
) -> Call[RecommendationsAnswer]:
    """Lists for the places of a page; while away each is filled from `or_else`."""
    return Call(
        "POST",
        "/v1/recommendations",
        {"user": user, "placements": placements, **options},
        RecommendationsAnswer,
        fallback=lambda: _page(placements, or_else),
    )


def reranking(user: Body, items: Sequence[Body], options: RerankOptions) -> Call[RerankAnswer]:
    """A list in the person's own order; while away in the order that it has."""
    return Call(
        "POST",
        "/v1/rerank",
        {"user": user, "items": items, **options},
        RerankAnswer,
        fallback=lambda: _as_given(items),
    )


def events(batch: Sequence[Body]) -> Call[EventsAnswer]:
    """Canonical events; each is known by its `event_id`."""
    return _events("/v1/events", {"events": batch}, len(batch), repeatable=True)


def ga4_events(body: Body) -> Call[EventsAnswer]:
    """A Measurement Protocol body; known again only by `timestamp_micros`."""
    found = body.get("events", ())
    timed = "timestamp_micros" in body or all("timestamp_micros" in event for event in found)
    return _events("/v1/events/ga4", body, len(found), repeatable=timed)


def segment_events(body: Body) -> Call[EventsAnswer]:
    """A Segment message or batch; known again by its `messageId`s."""
    messages = body.get("batch", [body])
    known = all("messageId" in message for message in messages)
    return _events("/v1/events/segment", body, len(messages), repeatable=known)


def items(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Catalogue items; each replaces itself."""
    return Call("PUT", "/v1/catalog/items", {"items": batch}, PutAnswer)


def stock(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Stock and prices, as they are and not as they change."""
    return Call("POST", "/v1/catalog/stock", {"items": batch}, PutAnswer)


def profiles(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Declared profiles."""
    return Call("PUT", "/v1/profiles", {"profiles": batch}, PutAnswer)


def feedback(user: Body, action: str, options: FeedbackOptions) -> Call[FeedbackAnswer]:
    """What a person says; known again by its `event_id`."""
    return Call(
        "POST",
        "/v1/feedback",
        {"user": user, "action": action, **options},
        FeedbackAnswer,
        repeatable="event_id" in options,
    )


def preferences(user: Body, options: PreferencesOptions) -> Call[PreferencesAnswer]:
    """What a person prefers."""
    return Call("PUT", "/v1/preferences", {"user": user, **options}, PreferencesAnswer)


def preferences_on_record(user: Body) -> Call[PreferencesAnswer]:
    """What a person has said to prefer."""
    return Call("POST", "/v1/preferences/read", {"user": user}, PreferencesAnswer)


def export(user: Body, cursor: str | None) -> Call[ExportAnswer]:
    """A page of what is held about a person."""
    return Call("POST", "/v1/privacy/export", {"user": user, "cursor": cursor}, ExportAnswer)


def erasure(user: Body) -> Call[EraseAnswer]:
    """Erases a person; a second call tells how far the first has come."""
    return Call("POST", "/v1/privacy/erase", {"user": user}, EraseAnswer)


def experiments() -> Call[ExperimentsAnswer]:
    """What is served side by side."""
    from serving.api.result_schemas import (
        ExperimentsAnswer,  # brings DuckDB, which pages do not need
    )

    return Call("GET", "/v1/experiments", None, ExperimentsAnswer)


def kpi() -> Call[KpiAnswer]:
    """What the answers of the last days brought."""
    from serving.api.result_schemas import KpiAnswer

    return Call("GET", "/v1/kpi", None, KpiAnswer)


def _events(path: str, body: Body, count: int, *, repeatable: bool) -> Call[EventsAnswer]:
    def nothing_stored() -> EventsAnswer:
        return EventsAnswer(results=[], accepted=0, duplicates=0, rejected=count)

    return Call("POST", path, body, EventsAnswer, repeatable, fallback=nothing_stored)


def _page(placements: Sequence[Body], or_else: Sequence[str]) -> RecommendationsAnswer:
    """The shop's own items in the order given, none in two lists nor on the page already."""
    lists = []
    taken: set[str] = set()
    for place in placements:
        excluded = place.get("exclude", ())
        hidden = taken.union(place.get("items", ()), excluded if isinstance(excluded, list) else ())
        ids = [id for id in dict.fromkeys(or_else) if id not in hidden][: place.get("k", 10)]
        taken.update(ids)
        shown = [
            RecommendedItem(
                item_id=id, score=0.0, source=AWAY, source_text=AWAY_TEXT, position=position
            )
            for position, id in enumerate(ids)
        ]
        lists.append(
            PlacementAnswer(
                placement=place.get("placement", ""),
                level="everybody" if ids else None,
                fallback=AWAY if ids else None,
                items=shown,
            )
        )
    return RecommendationsAnswer(
        recommendation_id="", model_version=AWAY, variant=AWAY, degraded=True, placements=lists
    )


def _as_given(items: Sequence[Body]) -> RerankAnswer:
    ranked = [
        RankedItem(
            item_id=item["item_id"],
            position=place,
            original_position=place,
            score=0.0,
            source=AWAY,
            source_text="",
        )
        for place, item in enumerate(items)
    ]
    return RerankAnswer(
        recommendation_id="", model_version=AWAY, variant=AWAY, degraded=True, items=ranked
    )
