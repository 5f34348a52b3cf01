"""`build_app`: the application of one worker, every route of the table with its handler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from recsys.errors import InvalidQuery, StoreUnavailable
from serving.api.problems import ProblemError, unavailable
from serving.api.routes import ROUTES, Route
from serving.http import (
    catalog_routes,
    customer_routes,
    event_routes,
    operations_routes,
    recommendation_routes,
    vendor_routes,
)
from serving.http.app_state import AppState, Handler, Handlers
from serving.http.guard import Guard, Limits
from serving.http.responses import ListsResponse, problem_response

logger = logging.getLogger(__name__)

HANDLERS: Final[Handlers] = {
    **recommendation_routes.HANDLERS,
    **event_routes.HANDLERS,
    **vendor_routes.HANDLERS,
    **catalog_routes.HANDLERS,
    **customer_routes.HANDLERS,
    **operations_routes.HANDLERS,
}
"""The handler of each route."""

REFUSED: Final = "refused at the door"
"""The route label of requests that the guard refuses: their path may hold anything."""


def build_app(
    state: AppState,
    *,
    limits: Limits,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """The application; nothing but the documented paths and methods is let in."""
    return Starlette(
        routes=[
            StarletteRoute(
                route.path, _endpoint(state, route, HANDLERS[route]), methods=[route.method]
            )
            for route in ROUTES
        ],
        middleware=[
            Middleware(Guard, routes=ROUTES, limits=limits, refused=partial(_note_refusal, state))
        ],
        lifespan=lifespan,
    )


def _endpoint(
    state: AppState, route: Route[Any, Any], handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """The handler with admission and time-out, its errors as problems, timed and counted."""
    metrics = state.metrics
    seconds = metrics.seconds.labels(route.path)
    time_out = state.request_seconds * route.patience

    async def answer(request: Request) -> Response:
        body = await request.body()
        started = metrics.stopwatch()
        try:
            if route.queue != "exempt":
                await state.admission.turn(short=route.queue == "first")
            async with asyncio.timeout(time_out):
                response = await handler(state, body)
        except ProblemError as problem:
            response = problem_response(problem)
        except TimeoutError:
            response = problem_response(
                unavailable("The event store took too long; send it again.")
            )
        except InvalidQuery as error:
            response = problem_response(ProblemError(422, str(error)))
        except StoreUnavailable:
            response = problem_response(
                unavailable("The event store is unavailable; nothing was stored.")
            )
        except Exception:
            logger.exception("%s failed", route.path)
            response = problem_response(ProblemError(500, "The error is in the service's log."))
        if state.admission.moves_connection():
            response.headers["Connection"] = "close"
        spent = metrics.stopwatch() - started
        seconds.observe(spent)
        metrics.requests.labels(route.path, str(response.status_code)).inc()
        log_fields = response.log_fields if isinstance(response, ListsResponse) else None
        state.request_log.add(route.path, request.method, response.status_code, spent, log_fields)
        return response

    return answer


def _note_refusal(state: AppState, status: int) -> None:
    state.metrics.requests.labels(REFUSED, str(status)).inc()
    state.request_log.add(REFUSED, "", status, 0.0, None)
