"""The HTTP routes: read the body, ask the engine or the store, answer. Only this file reads the
clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from numpy.random import Generator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recsys.catalog import parse_item
from recsys.errors import InvalidInput, InvalidQuery, StoreUnavailable
from recsys.events import Tolerance, parse_event
from recsys.profiles import parse_profile
from recsys.store import Store
from serving.answer_log import AnswerLog
from serving.bodies import id_of, put_answer, read_body, read_entry, reason_text, sort_out
from serving.bundle_source import BundleSource
from serving.engine import Engine
from serving.event_writer import EventWriter
from serving.monitoring import CONTENT_TYPE, Monitoring
from serving.openapi import OPENAPI_JSON
from serving.problems import (
    MEDIA_TYPE,
    ProblemError,
    encode_problem,
    unavailable,
)
from serving.schemas import (
    EventResult,
    EventsAnswer,
    EventsRequest,
    Health,
    ItemsRequest,
    ProfilesRequest,
    RecommendationsRequest,
    RerankRequest,
)
from serving.security import Guard, Limits
from serving.variants import Serving

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the routes work with, put together by the composition root."""

    engine: Engine
    source: BundleSource
    store: Store
    writer: EventWriter
    answers: AnswerLog
    monitoring: Monitoring
    tolerance: Tolerance
    request_seconds: float
    clock: Callable[[], datetime]
    rng: Generator


Handler = Callable[[Parts, bytes], Awaitable[Response]]


def build_app(
    parts: Parts,
    *,
    limits: Limits,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """The application; nothing but the documented paths and methods is let in."""
    methods = {path: _with_head(method) for path, (method, _) in ROUTES.items()}
    refused = partial(_count_refusal, parts.monitoring)
    return Starlette(
        routes=[
            Route(path, _endpoint(parts, path, handler), methods=[method])
            for path, (method, handler) in ROUTES.items()
        ],
        middleware=[Middleware(Guard, routes=methods, limits=limits, refused=refused)],
        lifespan=lifespan,
    )


def utc_now() -> datetime:
    """The service's clock."""
    return datetime.now(UTC)


async def post_recommendations(parts: Parts, body: bytes) -> Response:
    """Lists for one or several places of a page."""
    request = read_body(_RECOMMENDATIONS, body)
    answer, logged = parts.engine.recommend(
        request, _serving(parts), now=parts.clock(), rng=parts.rng
    )
    parts.answers.add(logged)
    return _json(answer)


async def post_rerank(parts: Parts, body: bytes) -> Response:
    """A search result or listing page in the person's own order."""
    request = read_body(_RERANK, body)
    answer, logged = parts.engine.rerank(request, _serving(parts), now=parts.clock(), rng=parts.rng)
    parts.answers.add(logged)
    return _json(answer)


async def post_events(parts: Parts, body: bytes) -> Response:
    """A batch of events: each accepted, known already, or rejected with field and reason."""
    envelope = read_body(_EVENTS, body)
    now = parts.clock()
    parse = partial(parse_event, now=now, tolerance=parts.tolerance)
    results: dict[int, EventResult] = {}
    events = {}
    for place, raw in enumerate(envelope.events):
        try:
            events[place] = read_entry(parse, raw, kind="event")
        except InvalidInput as error:
            results[place] = EventResult(
                event_id=id_of(raw, "event_id"),
                status="rejected",
                field=error.field,
                reason=reason_text(error),
            )
    stored = await parts.writer.append(list(events.values())) if events else []
    for (place, event), new in zip(events.items(), stored, strict=True):
        results[place] = EventResult(
            event_id=event.event_id, status="accepted" if new else "duplicate"
        )
    ordered = [results[place] for place in range(len(envelope.events))]
    counts = dict.fromkeys(("accepted", "duplicate", "rejected"), 0)
    for result in ordered:
        counts[result.status] += 1
    for status, count in counts.items():
        parts.monitoring.events.labels(status).inc(count)
    return _json(
        EventsAnswer(
            results=ordered,
            accepted=counts["accepted"],
            duplicates=counts["duplicate"],
            rejected=counts["rejected"],
        )
    )


async def put_items(parts: Parts, body: bytes) -> Response:
    """Catalogue items, in force in this worker at once and in the others within a second."""
    envelope = read_body(_ITEMS, body)
    results, items = sort_out(envelope.items, parse_item, kind="item", id_field="item_id")

    def put() -> None:
        parts.store.put_items(items, received_at=parts.clock())
        parts.source.follow_catalog()

    if items:
        await asyncio.to_thread(put)
    return _json(put_answer(results))


async def put_profiles(parts: Parts, body: bytes) -> Response:
    """Declared profiles and consent."""
    envelope = read_body(_PROFILES, body)
    results, profiles = sort_out(
        envelope.profiles, parse_profile, kind="profile", id_field="user_id"
    )
    if profiles:
        await asyncio.to_thread(
            lambda: parts.store.put_profiles(profiles, received_at=parts.clock())
        )
    return _json(put_answer(results))


async def get_livez(_parts: Parts, _body: bytes) -> Response:
    """The process answers."""
    return _json(Health(status="alive"))


async def get_readyz(parts: Parts, _body: bytes) -> Response:
    """A bundle is loaded and warmed up."""
    return _json(Health(status="ready", model_versions=dict(_serving(parts).model_versions)))


async def get_metrics(parts: Parts, _body: bytes) -> Response:
    """Prometheus text."""
    return Response(parts.monitoring.text(), headers={"content-type": CONTENT_TYPE})


async def get_openapi(_parts: Parts, _body: bytes) -> Response:
    """The description of these routes."""
    return Response(OPENAPI_JSON, media_type="application/json")


ROUTES: Final[dict[str, tuple[str, Handler]]] = {
    "/v1/recommendations": ("POST", post_recommendations),
    "/v1/rerank": ("POST", post_rerank),
    "/v1/events": ("POST", post_events),
    "/v1/catalog/items": ("PUT", put_items),
    "/v1/profiles": ("PUT", put_profiles),
    "/livez": ("GET", get_livez),
    "/readyz": ("GET", get_readyz),
    "/metrics": ("GET", get_metrics),
    "/openapi.json": ("GET", get_openapi),
}

_RECOMMENDATIONS: Final = msgspec.json.Decoder(RecommendationsRequest)
_RERANK: Final = msgspec.json.Decoder(RerankRequest)
_EVENTS: Final = msgspec.json.Decoder(EventsRequest)
_ITEMS: Final = msgspec.json.Decoder(ItemsRequest)
_PROFILES: Final = msgspec.json.Decoder(ProfilesRequest)


def _endpoint(
    parts: Parts, path: str, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """The handler with its errors turned into problems, timed and counted under its path."""
    monitoring = parts.monitoring
    seconds = monitoring.seconds.labels(path)

    async def answer(request: Request) -> Response:
        body = await request.body()
        started = monitoring.stopwatch()
        try:
            async with asyncio.timeout(parts.request_seconds):
                response = await handler(parts, body)
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
        seconds.observe(monitoring.stopwatch() - started)
        monitoring.requests.labels(path, str(response.status_code)).inc()
        return response

    return answer


def _serving(parts: Parts) -> Serving:
    serving = parts.source.current
    if serving is None:
        raise unavailable("No model is in service yet; publish one with `recsys nightly`.")
    return serving


def _json(answer: msgspec.Struct) -> Response:
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


def _count_refusal(monitoring: Monitoring, status: int) -> None:
    monitoring.requests.labels("refused at the door", str(status)).inc()
