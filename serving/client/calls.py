"""The calls that a client can make: the route, the body, and what a page shows meanwhile.

Free of any transport, so that the blocking and the asynchronous client send the same. A call that
a page may need has a fallback: what to show while the service is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypedDict, TypeVar

import msgspec

from serving.api import routes
from serving.api.customer_schemas import (
    EraseAnswer,
    ExportAnswer,
    FeedbackAnswer,
    PreferencesAnswer,
)
from serving.api.result_schemas import ExperimentsAnswer, KpiAnswer
from serving.api.routes import Route
from serving.api.schemas import (
    EventsAnswer,
    PlacementAnswer,
    PutAnswer,
    RankedItem,
    RecommendationsAnswer,
    RecommendedItem,
    RerankAnswer,
)

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
    """The subject of the feedback, and how long it holds; see FeedbackRequest in /openapi.json."""

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
    after an answer was lost. `fallback` makes the answer for a page while the service is away."""

    route: Route[Any, T]
    body: Body | None = None
    repeatable: bool = True
    fallback: Callable[[], T] | None = None

    @property
    def content(self) -> bytes:
        """The body as JSON; empty where there is none."""
        return b"" if self.body is None else msgspec.json.encode(self.body)


def recommendations(
    user: Body, placements: Sequence[Body], options: RecommendOptions, or_else: Sequence[str]
) -> Call[RecommendationsAnswer]:
    """Lists for the placements of a page; while away each is filled from `or_else`."""
    return Call(
        routes.RECOMMENDATIONS,
        {"user": user, "placements": placements, **options},
        fallback=lambda: _page(placements, or_else),
    )


def reranking(user: Body, items: Sequence[Body], options: RerankOptions) -> Call[RerankAnswer]:
    """A list in the person's order; while away in the order that it has."""
    return Call(
        routes.RERANK,
        {"user": user, "items": items, **options},
        fallback=lambda: _as_given(items),
    )


def events(batch: Sequence[Body]) -> Call[EventsAnswer]:
    """Canonical events; each is known by its `event_id`."""
    return _events(routes.EVENTS, {"events": batch}, len(batch), repeatable=True)


def ga4_events(body: Body) -> Call[EventsAnswer]:
    """A Measurement Protocol body; known again only by `timestamp_micros`."""
    batch = body.get("events", ())
    timed = "timestamp_micros" in body or all("timestamp_micros" in event for event in batch)
    return _events(routes.GA4_EVENTS, body, len(batch), repeatable=timed)


def segment_events(body: Body) -> Call[EventsAnswer]:
    """A Segment message or batch; known again by its `messageId`s."""
    messages = body.get("batch", [body])
    known = all("messageId" in message for message in messages)
    return _events(routes.SEGMENT_EVENTS, body, len(messages), repeatable=known)


def items(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Catalogue items; each replaces the item of its id."""
    return Call(routes.ITEMS, {"items": batch})


def stock(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Stock and prices, as they are and not as they change."""
    return Call(routes.STOCK, {"items": batch})


def profiles(batch: Sequence[Body]) -> Call[PutAnswer]:
    """Declared profiles."""
    return Call(routes.PROFILES, {"profiles": batch})


def feedback(user: Body, action: str, options: FeedbackOptions) -> Call[FeedbackAnswer]:
    """Feedback of a person; known again by its `event_id`."""
    return Call(
        routes.FEEDBACK,
        {"user": user, "action": action, **options},
        repeatable="event_id" in options,
    )


def preferences(user: Body, options: PreferencesOptions) -> Call[PreferencesAnswer]:
    """What a person prefers."""
    return Call(routes.PREFERENCES, {"user": user, **options})


def preferences_on_record(user: Body) -> Call[PreferencesAnswer]:
    """The preferences that are stored of a person."""
    return Call(routes.READ_PREFERENCES, {"user": user})


def export(user: Body, cursor: str | None) -> Call[ExportAnswer]:
    """A page of what is held about a person."""
    return Call(routes.EXPORT, {"user": user, "cursor": cursor})


def erasure(user: Body) -> Call[EraseAnswer]:
    """Erases a person; a second call reports how far the first has come."""
    return Call(routes.ERASE, {"user": user})


def experiments() -> Call[ExperimentsAnswer]:
    """The variants that are served side by side."""
    return Call(routes.EXPERIMENTS)


def kpi() -> Call[KpiAnswer]:
    """The figures of the last days."""
    return Call(routes.KPI)


def _events(
    route: Route[Any, EventsAnswer], body: Body, count: int, *, repeatable: bool
) -> Call[EventsAnswer]:
    def nothing_stored() -> EventsAnswer:
        return EventsAnswer(results=[], accepted=0, duplicates=0, rejected=count)

    return Call(route, body, repeatable, fallback=nothing_stored)


def _page(placements: Sequence[Body], or_else: Sequence[str]) -> RecommendationsAnswer:
    """The items of `or_else` in their order, none in two lists nor on the page already."""
    lists = []
    shown_ids: set[str] = set()
    for placement in placements:
        refused = placement.get("exclude", ())
        excluded = shown_ids.union(
            placement.get("items", ()), refused if isinstance(refused, list) else ()
        )
        ids = [id for id in dict.fromkeys(or_else) if id not in excluded]
        ids = ids[: placement.get("k", 10)]
        shown_ids.update(ids)
        shown = [
            RecommendedItem(
                item_id=id, score=0.0, source=AWAY, source_text=AWAY_TEXT, position=position
            )
            for position, id in enumerate(ids)
        ]
        lists.append(
            PlacementAnswer(
                placement=placement.get("placement", ""),
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
            position=position,
            original_position=position,
            score=0.0,
            source=AWAY,
            source_text="",
        )
        for position, item in enumerate(items)
    ]
    return RerankAnswer(
        recommendation_id="", model_version=AWAY, variant=AWAY, degraded=True, items=ranked
    )
