"""`Client`: the service from Python, typed, with time-outs and retries.

`serving.client.AsyncClient` has the same calls for asyncio.

with Client("http://127.0.0.1:3000", api_key=key) as client:
    client.send_events([{"event_id": "1", "event": "view_item", ...}])
    page = client.recommend({"user_id": "u-17"}, [{"placement": "for_you", "k": 8}])

A page must not fail because of its recommendations: with `on_failure` the calls that a page needs
never raise. Lists then come from `or_else`, a result list keeps its order, each with `degraded`,
and `on_failure` is called with the error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


class Client:
    """A pool of kept connections to one service; may be shared by threads.

    `timeout_seconds` limits one attempt, `patience` all of them. A call is repeated where the
    service answered that nothing was done, or where the call is idempotent.
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
            base_url=url, headers=key_header(api_key), timeout=timeout_seconds, limits=KEPT
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
        """Lists for a page's placements; `or_else`: item ids to show while the service is away."""
        return self._send(calls.recommendations(user, placements, options, or_else))

    def rerank(
        self, user: Body, items: Sequence[Body], **options: Unpack[RerankOptions]
    ) -> RerankAnswer:
        """A list in the person's order."""
        return self._send(calls.reranking(user, items, options))

    def rerank_hits(
        self,
        user: Body,
        response: Mapping[str, Any],
        *,
        id_field: str = DOCUMENT_ID,
        **options: Unpack[RerankOptions],
    ) -> dict[str, Any]:
        """The body of an Elasticsearch or OpenSearch answer with its hits reordered.

        Ids and scores alone travel. InvalidRequest where the body is no search answer.
        """
        items = listed_hits(response, id_field, self._on_failure)
        if not items:
            return dict(response)
        return with_order(response, self.rerank(user, items, **options), id_field)

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

    def send_feedback(
        self, user: Body, action: str, **options: Unpack[FeedbackOptions]
    ) -> FeedbackAnswer:
        """Feedback of a person on an item, a brand or a category."""
        return self._send(calls.feedback(user, action, options))

    def put_preferences(
        self, user: Body, **options: Unpack[PreferencesOptions]
    ) -> PreferencesAnswer:
        """Sets what a person prefers; what is left out stays as it is."""
        return self._send(calls.preferences(user, options))

    def read_preferences(self, user: Body) -> PreferencesAnswer:
        """The preferences on record."""
        return self._send(calls.preferences_on_record(user))

    def export_person(self, user: Body) -> Iterator[dict[str, Any]]:
        """Every record that is held about a person, page by page."""
        cursor = None
        while True:
            page = self._send(calls.export(user, cursor))
            yield from page.records
            if (cursor := page.next) is None:
                return

    def erase_person(self, user: Body) -> EraseAnswer:
        """Erases all that is held about a person; calling it again reports the progress."""
        return self._send(calls.erasure(user))

    def experiments(self) -> ExperimentsAnswer:
        """The variants that are served now, with their shares."""
        return self._send(calls.experiments())

    def kpi(self) -> KpiAnswer:
        """What the answers of the last days brought, by placement and day."""
        return self._send(calls.kpi())

    def ready(self) -> bool:
        """Whether the service has a model in service."""
        try:
            return self._http.get(READY.path).is_success
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
            return fall_back(call, error, self._on_failure)

    def _attempt(self, call: Call[T]) -> T:
        content = call.content
        attempts = Attempts(self._patience, call.repeatable, started=time.monotonic())
        while True:
            try:
                response = self._http.request(
                    call.route.method, call.route.path, content=content, headers=JSON
                )
                if response.is_success:
                    return read_answer(call, response)
                pause = attempts.refused(response, now=time.monotonic())
            except httpx.RequestError as error:
                pause = attempts.failed(error, now=time.monotonic())
            self._sleep(pause)
