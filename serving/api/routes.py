"""The routes of the service, each declared once.

The application, the guard, the OpenAPI document, both clients, the labels of metrics and log lines
and the tests derive from this table. The handlers are bound to the routes in `serving.http`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from serving.api import examples
from serving.api.customer_schemas import (
    EraseAnswer,
    ExportAnswer,
    ExportRequest,
    FeedbackAnswer,
    FeedbackRequest,
    PersonRequest,
    PreferencesAnswer,
    PreferencesRequest,
)
from serving.api.examples import Example
from serving.api.result_schemas import ExperimentsAnswer, KpiAnswer
from serving.api.schemas import (
    EventsAnswer,
    EventsRequest,
    Health,
    ItemsRequest,
    ProfilesRequest,
    PutAnswer,
    RecommendationsAnswer,
    RecommendationsRequest,
    RerankAnswer,
    RerankRequest,
    StockRequest,
)
from serving.api.vendor_bodies import EngineAnswer, EngineRequest, GA4Request, SegmentRequest

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")

NoBody: Final = type(None)
"""The request of a route that takes no body."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route(Generic[RequestT, AnswerT]):
    """One method of one path. An `answer` of type `str` is plain text, `dict` any JSON object.

    `queue` says how a request is admitted under load: it waits for its turn, goes before the
    others because it is short, or is never refused. `patience` multiplies the time-out.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    summary: str
    request: type[RequestT]
    answer: type[AnswerT]
    example: Example | None = None
    queue: Literal["turn", "first", "exempt"] = "turn"
    patience: float = 1.0
    needs_key: bool = True

    @property
    def takes_body(self) -> bool:
        """Whether a request has a body."""
        return self.request is not NoBody


RECOMMENDATIONS: Final = Route(
    method="POST",
    path="/v1/recommendations",
    summary="Lists for one or several places of a page.",
    request=RecommendationsRequest,
    answer=RecommendationsAnswer,
    example=examples.RECOMMENDATIONS,
)
RERANK: Final = Route(
    method="POST",
    path="/v1/rerank",
    summary="A search result or listing page in the person's own order.",
    request=RerankRequest,
    answer=RerankAnswer,
    example=examples.RERANK,
)
RERANK_ELASTICSEARCH: Final = Route(
    method="POST",
    path="/v1/rerank/elasticsearch",
    summary=(
        "The body of an Elasticsearch or OpenSearch answer, its hits in the person's own order."
    ),
    request=EngineRequest,
    answer=EngineAnswer,
    example=examples.RERANK_ELASTICSEARCH,
)
EVENTS: Final = Route(
    method="POST",
    path="/v1/events",
    summary="What visitors did; a result per event.",
    request=EventsRequest,
    answer=EventsAnswer,
    example=examples.EVENTS,
    queue="first",
)
GA4_EVENTS: Final = Route(
    method="POST",
    path="/v1/events/ga4",
    summary="A GA4 Measurement Protocol body as it is; a result per event.",
    request=GA4Request,
    answer=EventsAnswer,
    example=examples.GA4_EVENTS,
)
SEGMENT_EVENTS: Final = Route(
    method="POST",
    path="/v1/events/segment",
    summary="A Segment message or batch as it is; a result per message.",
    request=SegmentRequest,
    answer=EventsAnswer,
    example=examples.SEGMENT_EVENTS,
)
ITEMS: Final = Route(
    method="PUT",
    path="/v1/catalog/items",
    summary="Catalogue items; in force within a second.",
    request=ItemsRequest,
    answer=PutAnswer,
    example=examples.ITEMS,
)
STOCK: Final = Route(
    method="POST",
    path="/v1/catalog/stock",
    summary="New stock and prices of items; in force within a second.",
    request=StockRequest,
    answer=PutAnswer,
    example=examples.STOCK,
)
PROFILES: Final = Route(
    method="PUT",
    path="/v1/profiles",
    summary="Declared traits, customer group, account, consent.",
    request=ProfilesRequest,
    answer=PutAnswer,
    example=examples.PROFILES,
)
FEEDBACK: Final = Route(
    method="POST",
    path="/v1/feedback",
    summary="What a person says of an item, a brand or a category; in force in the next answer.",
    request=FeedbackRequest,
    answer=FeedbackAnswer,
    example=examples.FEEDBACK,
    queue="first",
)
PREFERENCES: Final = Route(
    method="PUT",
    path="/v1/preferences",
    summary="Interests, exclusions, the order that is wanted, personalisation off or on.",
    request=PreferencesRequest,
    answer=PreferencesAnswer,
    example=examples.PREFERENCES,
)
READ_PREFERENCES: Final = Route(
    method="POST",
    path="/v1/preferences/read",
    summary="The preferences on record.",
    request=PersonRequest,
    answer=PreferencesAnswer,
    example=examples.READ_PREFERENCES,
)
EXPORT: Final = Route(
    method="POST",
    path="/v1/privacy/export",
    summary="Everything that is held about a person, page by page.",
    request=ExportRequest,
    answer=ExportAnswer,
    example=examples.EXPORT,
)
ERASE: Final = Route(
    method="POST",
    path="/v1/privacy/erase",
    summary="Removes everything that is held about a person; the answer is a receipt.",
    request=PersonRequest,
    answer=EraseAnswer,
    example=examples.ERASE,
)
EXPERIMENTS: Final = Route(
    method="GET",
    path="/v1/experiments",
    summary="The variants that are served now, with their shares.",
    request=NoBody,
    answer=ExperimentsAnswer,
    example=examples.EXPERIMENTS,
)
KPI: Final = Route(
    method="GET",
    path="/v1/kpi",
    summary="What the answers of the last seven days brought, by placement and day.",
    request=NoBody,
    answer=KpiAnswer,
    example=examples.KPI,
    patience=6.0,
)
LIVE: Final = Route(
    method="GET",
    path="/livez",
    summary="The process answers.",
    request=NoBody,
    answer=Health,
    example=examples.LIVE,
    queue="exempt",
    needs_key=False,
)
READY: Final = Route(
    method="GET",
    path="/readyz",
    summary="A model is loaded and warmed up.",
    request=NoBody,
    answer=Health,
    example=examples.READY,
    queue="exempt",
    needs_key=False,
)
METRICS: Final = Route(
    method="GET",
    path="/metrics",
    summary="Prometheus text.",
    request=NoBody,
    answer=str,
    queue="exempt",
)
OPENAPI: Final = Route(
    method="GET",
    path="/openapi.json",
    summary="This description.",
    request=NoBody,
    answer=dict,
    queue="exempt",
)

ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    RECOMMENDATIONS,
    RERANK,
    RERANK_ELASTICSEARCH,
    EVENTS,
    GA4_EVENTS,
    SEGMENT_EVENTS,
    ITEMS,
    STOCK,
    PROFILES,
    FEEDBACK,
    PREFERENCES,
    READ_PREFERENCES,
    EXPORT,
    ERASE,
    EXPERIMENTS,
    KPI,
    LIVE,
    READY,
    METRICS,
    OPENAPI,
)
