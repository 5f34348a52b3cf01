"""`Client` and `AsyncClient`: the service from Python, typed, with time-outs and retries.

with Client("http://127.0.0.1:3000", api_key=key) as client:
    client.send_events([{"event_id": "1", "event": "view_item", ...}])
    page = client.recommend({"user_id": "u-17"}, [{"placement": "for_you", "k": 8}])

In a checkout path nothing may go wrong on a page because of its recommendations. A client that is
told what to do `on_failure` never raises there: lists come from `or_else`, a result list keeps
the engine's order, each with `degraded`, and the error goes to that function, to be logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack

import httpx
import msgspec

from recsys.errors import InvalidInput
from serving import calls
from serving.attempts import (
    Attempts,
    InvalidRequest,
    KeyRefused,
    Patience,
    ServiceError,
    ServiceUnavailable,
    read_answer,
)
from serving.calls import Body, Call, RecommendOptions, RerankOptions, T
from serving.schemas import EventsAnswer, PutAnswer, RecommendationsAnswer, RerankAnswer
from serving.search_hits import OWN_ID, items_of, reordered

__all__ = [
    "AsyncClient",
    "Client",
    "InvalidRequest",
    "KeyRefused",
    "Patience",
    "ServiceError",
    "ServiceUnavailable",
]

OnFailure = Callable[[ServiceError], None]
JSON: Final = {"Content-Type": "application/json"}
KEPT: Final = httpx.Limits(max_keepalive_connections=20, keepalive_expiry=60)
"""Idle connections are closed before the service would close them (after 75 s)."""


class Client:
    """A pool of kept connections to one service; may be shared by threads.

    `timeout_seconds` is for one attempt, `patience` for all of them. A call is repeated where the
    service said that nothing was done, or where doing it twice is doing it once.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 5.0,
        patience: Patience | None = None,
        on_failure: OnFailure | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=_key(api_key), timeout=timeout_seconds, limits=KEPT
        )
        self._patience = patience or Patience()
        self._on_failure = on_failure
        self._sleep = sleep

    def recommend(
        self,
        user: Body,
        placements: Sequence[Body],
        *,
        or_else: Sequence[str] = (),
        **options: Unpack[RecommendOptions],
    ) -> RecommendationsAnswer:
        """Lists for the places of a page; `or_else` are ids to show while the service is away."""
        return self._send(calls.recommendations(user, placements, options, or_else))

    def rerank(
        self, user: Body, items: Sequence[Body], **options: Unpack[RerankOptions]
    ) -> RerankAnswer:
        """A list in the person's own order."""
        return self._send(calls.reranking(user, items, options))

    def rerank_hits(
        self,
        user: Body,
        response: Mapping[str, Any],
        *,
        id_field: str = OWN_ID,
        **options: Unpack[RerankOptions],
    ) -> dict[str, Any]:
        """The body of an Elasticsearch or OpenSearch answer with its hits reordered.

        Ids and scores alone travel. InvalidRequest where the body is no search answer.
        """
        items = _listed(response, id_field, self._on_failure)
        if not items:
            return dict(response)
        return _with_order(response, self.rerank(user, items, **options), id_field)

    def send_events(self, events: Sequence[Body]) -> EventsAnswer:
        """Stores events durably and gives a result for each."""
        return self._send(calls.events(events))

    def send_ga4_events(self, body: Body) -> EventsAnswer:
        """Stores the events of a Measurement Protocol body."""
        return self._send(calls.ga4_events(body))

    def send_segment_events(self, body: Body) -> EventsAnswer:
        """Stores a Segment message or a batch of them."""
        return self._send(calls.segment_events(body))

    def put_items(self, items: Sequence[Body]) -> PutAnswer:
        """Puts catalogue items."""
        return self._send(calls.items(items))

    def put_stock(self, items: Sequence[Body]) -> PutAnswer:
        """Changes stock and prices of items."""
        return self._send(calls.stock(items))

    def put_profiles(self, profiles: Sequence[Body]) -> PutAnswer:
        """Declares profiles."""
        return self._send(calls.profiles(profiles))

    def ready(self) -> bool:
        """Whether the service has a model in service."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        try:
            return self._attempt(call)
        except ServiceError as error:
            return _fallback(call, error, self._on_failure)

    def _attempt(self, call: Call[T]) -> T:
        content = call.content
        attempts = Attempts(self._patience, call.repeatable, started=time.monotonic())
        while True:
            try:
                response = self._http.request(call.method, call.path, content=content, headers=JSON)
                if response.is_success:
                    return read_answer(call, response)
                pause = attempts.refused(response, now=time.monotonic())
            except httpx.RequestError as error:
                pause = attempts.failed(error, now=time.monotonic())
            self._sleep(pause)


class AsyncClient:
    """The same calls for asyncio; one client serves all tasks of a loop."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 5.0,
        patience: Patience | None = None,
        on_failure: OnFailure | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_key(api_key), timeout=timeout_seconds)
        self._patience = patience or Patience()
        self._on_failure = on_failure
        self._sleep = sleep

    async def recommend(
        self,
        user: Body,
        placements: Sequence[Body],
        *,
        or_else: Sequence[str] = (),
        **options: Unpack[RecommendOptions],
    ) -> RecommendationsAnswer:
        """Lists for the places of a page; `or_else` are ids to show while the service is away."""
        return await self._send(calls.recommendations(user, placements, options, or_else))

    async def rerank(
        self, user: Body, items: Sequence[Body], **options: Unpack[RerankOptions]
    ) -> RerankAnswer:
        """A list in the person's own order."""
        return await self._send(calls.reranking(user, items, options))

    async def rerank_hits(
        self,
        user: Body,
        response: Mapping[str, Any],
        *,
        id_field: str = OWN_ID,
        **options: Unpack[RerankOptions],
    ) -> dict[str, Any]:
        """The body of an Elasticsearch or OpenSearch answer with its hits reordered."""
        items = _listed(response, id_field, self._on_failure)
        if not items:
            return dict(response)
        return _with_order(response, await self.rerank(user, items, **options), id_field)

    async def send_events(self, events: Sequence[Body]) -> EventsAnswer:
        """Stores events durably and gives a result for each."""
        return await self._send(calls.events(events))

    async def send_ga4_events(self, body: Body) -> EventsAnswer:
        """Stores the events of a Measurement Protocol body."""
        return await self._send(calls.ga4_events(body))

    async def send_segment_events(self, body: Body) -> EventsAnswer:
        """Stores a Segment message or a batch of them."""
        return await self._send(calls.segment_events(body))

    async def put_items(self, items: Sequence[Body]) -> PutAnswer:
        """Puts catalogue items."""
        return await self._send(calls.items(items))

    async def put_stock(self, items: Sequence[Body]) -> PutAnswer:
        """Changes stock and prices of items."""
        return await self._send(calls.stock(items))

    async def put_profiles(self, profiles: Sequence[Body]) -> PutAnswer:
        """Declares profiles."""
        return await self._send(calls.profiles(profiles))

    async def ready(self) -> bool:
        """Whether the service has a model in service."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        try:
            return await self._attempt(call)
        except ServiceError as error:
            return _fallback(call, error, self._on_failure)

    async def _attempt(self, call: Call[T]) -> T:
        content = call.content
        attempts = Attempts(self._patience, call.repeatable, started=time.monotonic())
        while True:
            try:
                response = await self._http.request(
                    call.method, call.path, content=content, headers=JSON
                )
                if response.is_success:
                    return read_answer(call, response)
                pause = attempts.refused(response, now=time.monotonic())
            except httpx.RequestError as error:
                pause = attempts.failed(error, now=time.monotonic())
            await self._sleep(pause)


def _key(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"X-API-Key": api_key}


def _fallback(call: Call[T], error: ServiceError, on_failure: OnFailure | None) -> T:
    if on_failure is None or call.fallback is None:
        raise error
    on_failure(error)
    return call.fallback()


def _listed(
    response: Mapping[str, Any], id_field: str, on_failure: OnFailure | None
) -> list[dict[str, Any]]:
    try:
        return items_of(response, id_field=id_field)
    except InvalidInput as error:
        refusal = InvalidRequest(422, str(error))
        if on_failure is None:
            raise refusal from error
        on_failure(refusal)
        return []


def _with_order(response: Mapping[str, Any], answer: RerankAnswer, id_field: str) -> dict[str, Any]:
    ids = [item.item_id for item in answer.items]
    return {**reordered(response, ids, id_field=id_field), "_recsys": msgspec.to_builtins(answer)}
