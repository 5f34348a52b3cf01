"""`AsyncClient`: the calls of `serving.client.Client` for asyncio.

async with AsyncClient("http://127.0.0.1:3000", api_key=key) as client:
    page = await client.recommend({"user_id": "u-17"}, [{"placement": "for_you", "k": 8}])
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from serving.api.customer_schemas import EraseAnswer, FeedbackAnswer, PreferencesAnswer
from serving.api.result_schemas import ExperimentsAnswer, KpiAnswer
from serving.api.routes import READY
from serving.api.schemas import EventsAnswer, PutAnswer, RecommendationsAnswer, RerankAnswer
from serving.api.search_hits import DOCUMENT_ID, with_order
from serving.client import calls
from serving.client.calls import (
    Body,
    Call,
    FeedbackOptions,
    PreferencesOptions,
    RecommendOptions,
    RerankOptions,
    T,
)
from serving.client.retries import (
    JSON,
    KEPT,
    Attempts,
    OnFailure,
    Patience,
    ServiceError,
    fall_back,
    key_header,
    listed_hits,
    read_answer,
)


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
        self._http = httpx.AsyncClient(
            base_url=url, headers=key_header(api_key), timeout=timeout_seconds, limits=KEPT
        )
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
        """Lists for a page's placements; `or_else`: item ids to show while the service is away."""
        return await self._send(calls.recommendations(user, placements, options, or_else))

    async def rerank(
        self, user: Body, items: Sequence[Body], **options: Unpack[RerankOptions]
    ) -> RerankAnswer:
        """A list in the person's order."""
        return await self._send(calls.reranking(user, items, options))

    async def rerank_hits(
        self,
        user: Body,
        response: Mapping[str, Any],
        *,
        id_field: str = DOCUMENT_ID,
        **options: Unpack[RerankOptions],
    ) -> dict[str, Any]:
        """The body of an Elasticsearch or OpenSearch answer with its hits reordered."""
        items = listed_hits(response, id_field, self._on_failure)
        if not items:
            return dict(response)
        return with_order(response, await self.rerank(user, items, **options), id_field)

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

    async def send_feedback(
        self, user: Body, action: str, **options: Unpack[FeedbackOptions]
    ) -> FeedbackAnswer:
        """Feedback of a person on an item, a brand or a category."""
        return await self._send(calls.feedback(user, action, options))

    async def put_preferences(
        self, user: Body, **options: Unpack[PreferencesOptions]
    ) -> PreferencesAnswer:
        """Sets what a person prefers; what is left out stays as it is."""
        return await self._send(calls.preferences(user, options))

    async def read_preferences(self, user: Body) -> PreferencesAnswer:
        """The preferences on record."""
        return await self._send(calls.preferences_on_record(user))

    async def export_person(self, user: Body) -> AsyncIterator[dict[str, Any]]:
        """Every record that is held about a person, page by page."""
        cursor = None
        while True:
            page = await self._send(calls.export(user, cursor))
            for record in page.records:
                yield record
            if (cursor := page.next) is None:
                return

    async def erase_person(self, user: Body) -> EraseAnswer:
        """Erases all that is held about a person; calling it again reports the progress."""
        return await self._send(calls.erasure(user))

    async def experiments(self) -> ExperimentsAnswer:
        """The variants that are served now, with their shares."""
        return await self._send(calls.experiments())

    async def kpi(self) -> KpiAnswer:
        """What the answers of the last days brought, by placement and day."""
        return await self._send(calls.kpi())

    async def ready(self) -> bool:
        """Whether the service has a model in service."""
        try:
            return (await self._http.get(READY.path)).is_success
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
            return fall_back(call, error, self._on_failure)

    async def _attempt(self, call: Call[T]) -> T:
        content = call.content
        attempts = Attempts(self._patience, call.repeatable, started=time.monotonic())
        while True:
            try:
                response = await self._http.request(
                    call.route.method, call.route.path, content=content, headers=JSON
                )
                if response.is_success:
                    return read_answer(call, response)
                pause = attempts.refused(response, now=time.monotonic())
            except httpx.RequestError as error:
                pause = attempts.failed(error, now=time.monotonic())
            await self._sleep(pause)
