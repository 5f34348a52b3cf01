"""The HTTP routes: read the body, ask the engine or the store, answer. Only this file reads the
clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recsys.catalog.items import parse_item, parse_item_change
from recsys.errors import InvalidQuery, StoreUnavailable
from recsys.query.profile import parse_profile
from recsys.store.protocol import LoggedAnswer
from serving.api.openapi import OPENAPI_JSON
from serving.api.parsing import put_answer, read_body, sort_out, without_unknown
from serving.api.problems import (
    MEDIA_TYPE,
    ProblemError,
    encode_problem,
    unavailable,
)
from serving.api.schemas import (
    EventsRequest,
    Health,
    ItemsRequest,
    ProfilesRequest,
    RecommendationsAnswer,
    RecommendationsRequest,
    RerankAnswer,
    RerankRequest,
    StockRequest,
)
from serving.api.search_hits import reordered
from serving.api.vendor_bodies import (
    EngineRequest,
    read_response,
    rerank_request,
)
from serving.http.app_state import AppState
from serving.http.customer_routes import (
    post_erase,
    post_export,
    post_feedback,
    put_preferences,
    read_preferences,
)
from serving.http.guard import Guard, Limits
from serving.http.vendor_routes import post_ga4_events, post_segment_events
from serving.live.versions import LiveVersions
from serving.metrics import CONTENT_TYPE
from serving.request_log import ListLine, LogFields
from serving.use_cases.ingest import canonical_entries, take
from serving.use_cases.pagination import Pagination, read_earlier
from serving.use_cases.results import running

logger = logging.getLogger(__name__)


class Answered(Response):
    """An answer with lists, and what the log says of it."""

    def __init__(self, answer: msgspec.Struct | Mapping[str, object], told: LogFields) -> None:
        super().__init__(msgspec.json.encode(answer), media_type="application/json")
        self.told = told


Handler = Callable[[AppState, bytes], Awaitable[Response]]


def build_app(
    state: AppState,
    *,
    limits: Limits,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """The application; nothing but the documented paths and methods is let in."""
    methods = {path: _with_head(method) for path, (method, _) in ROUTES.items()}
    refused = partial(_note_refusal, state)
    return Starlette(
        routes=[
            Route(path, _endpoint(state, path, handler), methods=[method])
            for path, (method, handler) in ROUTES.items()
        ],
        middleware=[Middleware(Guard, routes=methods, limits=limits, refused=refused)],
        lifespan=lifespan,
    )


def utc_now() -> datetime:
    """The service's clock."""
    return datetime.now(UTC)


async def post_recommendations(state: AppState, body: bytes) -> Response:
    """Lists for one or several places of a page."""
    request = read_body(_RECOMMENDATIONS, body)
    now = state.clock()
    earlier = Pagination()
    if request.continue_from:
        earlier = await read_earlier(state.store, request.continue_from, now=now)
    answer, logged = state.recommender.recommend(
        request,
        _serving(state),
        now=now,
        rng=state.rng,
        earlier=earlier,
        may_explore=state.impressions.has_room(len(request.placements)),
    )
    state.impressions.add(logged)
    return Answered(answer, _told(answer, logged))


async def post_rerank(state: AppState, body: bytes) -> Response:
    """A search result or listing page in the person's own order."""
    request = read_body(_RERANK, body)
    answer, logged = state.recommender.rerank(
        request, _serving(state), now=state.clock(), rng=state.rng
    )
    state.impressions.add(logged)
    return Answered(answer, _told(answer, logged))


async def post_rerank_elasticsearch(state: AppState, body: bytes) -> Response:
    """The body of an Elasticsearch or OpenSearch answer, its hits in the person's own order."""
    request = read_body(_ENGINE, body)
    response = read_response(request.response)
    asked = rerank_request(request, response)
    if asked is None:
        return _body({**response, "_recsys": None})
    answer, logged = state.recommender.rerank(
        asked, _serving(state), now=state.clock(), rng=state.rng
    )
    state.impressions.add(logged)
    ids = [item.item_id for item in answer.items]
    ordered = reordered(response, ids, id_field=request.id_field)
    return Answered({**ordered, "_recsys": answer}, _told(answer, logged))


async def post_events(state: AppState, body: bytes) -> Response:
    """A batch of events: each accepted, known already, or rejected with field and reason."""
    request = read_body(_EVENTS, body)
    entries = canonical_entries(request, now=state.clock(), tolerance=state.tolerance)
    return _json(await take(entries, writer=state.writer, metrics=state.metrics))


async def put_items(state: AppState, body: bytes) -> Response:
    """Catalogue items, in force in this worker at once and in the others within a second."""
    envelope = read_body(_ITEMS, body)
    results, items = sort_out(envelope.items, parse_item, kind="item", id_field="item_id")

    def put() -> None:
        state.store.put_items(items, received_at=state.clock())
        state.source.follow_catalog()

    if items:
        await asyncio.to_thread(put)
    return _json(put_answer(results))


async def post_stock(state: AppState, body: bytes) -> Response:
    """New stock and prices of items, in force like the items themselves."""
    envelope = read_body(_STOCK, body)
    results, changes = sort_out(envelope.items, parse_item_change, kind="item", id_field="item_id")
    versions = state.source.current
    known = {} if versions is None else versions.described([change.item_id for change in changes])

    def put() -> list[bool]:
        found = state.store.put_stock(changes, known=known, received_at=state.clock())
        state.source.follow_catalog()
        return found

    found = await asyncio.to_thread(put) if changes else []
    return _json(put_answer(without_unknown(results, found)))


async def put_profiles(state: AppState, body: bytes) -> Response:
    """Declared profiles and consent."""
    envelope = read_body(_PROFILES, body)
    results, profiles = sort_out(
        envelope.profiles, parse_profile, kind="profile", id_field="user_id"
    )
    if profiles:
        await asyncio.to_thread(
            lambda: state.store.put_profiles(profiles, received_at=state.clock())
        )
    return _json(put_answer(results))


async def get_experiments(state: AppState, _body: bytes) -> Response:
    """The variants that are served now, with their shares."""
    return _json(running(_serving(state)))


async def get_kpi(state: AppState, _body: bytes) -> Response:
    """What the answers of the last days brought."""
    now = state.clock()
    return _json(await asyncio.to_thread(state.results.kpi, state.source.current, now=now))


async def get_livez(_parts: AppState, _body: bytes) -> Response:
    """The process answers."""
    return _json(Health(status="alive"))


async def get_readyz(state: AppState, _body: bytes) -> Response:
    """A bundle is loaded and warmed up."""
    return _json(Health(status="ready", model_versions=dict(_serving(state).model_versions)))


async def get_metrics(state: AppState, _body: bytes) -> Response:
    """Prometheus text."""
    if state.source.current is not None:
        now = state.clock()
        for variant in state.source.current.variants:
            age = (now - variant.bundle.manifest.as_of).total_seconds()
            state.metrics.model_age.labels(variant.name).set(age)
    return Response(state.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def get_openapi(_parts: AppState, _body: bytes) -> Response:
    """The description of these routes."""
    return Response(OPENAPI_JSON, media_type="application/json")


ROUTES: Final[dict[str, tuple[str, Handler]]] = {
    "/v1/recommendations": ("POST", post_recommendations),
    "/v1/rerank": ("POST", post_rerank),
    "/v1/rerank/elasticsearch": ("POST", post_rerank_elasticsearch),
    "/v1/events": ("POST", post_events),
    "/v1/events/ga4": ("POST", post_ga4_events),
    "/v1/events/segment": ("POST", post_segment_events),
    "/v1/catalog/items": ("PUT", put_items),
    "/v1/catalog/stock": ("POST", post_stock),
    "/v1/profiles": ("PUT", put_profiles),
    "/v1/feedback": ("POST", post_feedback),
    "/v1/preferences": ("PUT", put_preferences),
    "/v1/preferences/read": ("POST", read_preferences),
    "/v1/privacy/export": ("POST", post_export),
    "/v1/privacy/erase": ("POST", post_erase),
    "/v1/experiments": ("GET", get_experiments),
    "/v1/kpi": ("GET", get_kpi),
    "/livez": ("GET", get_livez),
    "/readyz": ("GET", get_readyz),
    "/metrics": ("GET", get_metrics),
    "/openapi.json": ("GET", get_openapi),
}

REFUSED: Final = "refused at the door"
"""The route that is counted and logged where there is no documented one: what was sent may hold
anything."""
UNHINDERED: Final = frozenset({"/livez", "/readyz", "/metrics", "/openapi.json"})
"""Answered whatever the load."""
SHORT: Final = frozenset({"/v1/events", "/v1/feedback"})
"""They are read in a fraction of the time of an answer and then wait for the disk."""
PATIENT: Final[Mapping[str, float]] = {"/v1/kpi": 6.0}
"""Routes that may take so many times as long: a report is waited for, a page is not."""

_RECOMMENDATIONS: Final = msgspec.json.Decoder(RecommendationsRequest)
_RERANK: Final = msgspec.json.Decoder(RerankRequest)
_ENGINE: Final = msgspec.json.Decoder(EngineRequest)
_EVENTS: Final = msgspec.json.Decoder(EventsRequest)
_ITEMS: Final = msgspec.json.Decoder(ItemsRequest)
_STOCK: Final = msgspec.json.Decoder(StockRequest)
_PROFILES: Final = msgspec.json.Decoder(ProfilesRequest)


def _endpoint(
    state: AppState, path: str, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """The handler with its errors turned into problems, timed and counted under its path."""
    metrics = state.metrics
    seconds = metrics.seconds.labels(path)
    allowed = state.request_seconds * PATIENT.get(path, 1.0)

    async def answer(request: Request) -> Response:
        body = await request.body()
        started = metrics.stopwatch()
        try:
            if path not in UNHINDERED:
                await state.admission.turn(short=path in SHORT)
            async with asyncio.timeout(allowed):
                response = await handler(state, body)
        except ProblemError as problem:
            response = _problem(problem)
        except TimeoutError:
            response = _problem(unavailable("The event store took too long; send it again."))
        except InvalidQuery as error:
            response = _problem(ProblemError(422, str(error)))
        except StoreUnavailable:
            response = _problem(unavailable("The event store is unavailable; nothing was stored."))
        except Exception:
            logger.exception("%s failed", path)
            response = _problem(ProblemError(500, "The error is in the service's log."))
        if state.admission.sends_on():
            response.headers["Connection"] = "close"
        spent = metrics.stopwatch() - started
        seconds.observe(spent)
        metrics.requests.labels(path, str(response.status_code)).inc()
        told = response.told if isinstance(response, Answered) else None
        state.request_log.add(path, request.method, response.status_code, spent, told)
        return response

    return answer


def _serving(state: AppState) -> LiveVersions:
    versions = state.source.current
    if versions is None:
        raise unavailable("No model is in service yet; publish one with `recsys nightly`.")
    return versions


def _told(
    answer: RecommendationsAnswer | RerankAnswer, logged: Sequence[LoggedAnswer]
) -> LogFields:
    return LogFields(
        lists=[
            ListLine(placement=one.placement, level=one.levels[0] if one.levels else None)
            for one in logged
        ],
        variant=answer.variant,
        model_version=answer.model_version,
        degraded=answer.degraded,
        recommendation_id=answer.recommendation_id,
        items=sum(len(one.item_ids) for one in logged),
    )


def _json(answer: msgspec.Struct) -> Response:
    return _body(answer)


def _body(answer: msgspec.Struct | Mapping[str, object]) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _problem(problem: ProblemError) -> Response:
    return Response(
        encode_problem(problem),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def _with_head(method: str) -> tuple[str, ...]:
    return ("GET", "HEAD") if method == "GET" else (method,)


def _note_refusal(state: AppState, status: int) -> None:
    state.metrics.requests.labels(REFUSED, str(status)).inc()
    state.request_log.add(REFUSED, "", status, 0.0, None)
