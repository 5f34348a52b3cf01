"""`Client`: the service from Python, for shops and demos: typed answers, time-outs, retries.

with Client("http://127.0.0.1:3000", api_key=key) as client:
    client.send_events([{"event_id": "1", "event": "view_item", ...}])
    page = client.recommend({"user_id": "u-17"}, [{"placement": "for_you", "k": 8}])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from serving.schemas import (
    EventsAnswer,
    FieldError,
    Problem,
    PutAnswer,
    RecommendationsAnswer,
    RerankAnswer,
)

T = TypeVar("T")
Body = Mapping[str, Any]

TRIES: Final = 3
PAUSE_SECONDS: Final = 0.2
"""Before the second try; twice as long before the third."""


class ServiceError(Exception):
    """The service refused a request; `errors` names the fields that are wrong."""

    def __init__(self, status: int, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.errors = tuple(errors)


class ServiceUnavailable(ServiceError):
    """No answer after all tries: the service, its store or its model is away."""


class Client:
    """A connection pool to one service. Every call may be repeated safely, and is, where the
    service is away: events are known by their ids, items and profiles replace themselves."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {} if api_key is None else {"X-API-Key": api_key}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds)
        self._sleep = sleep

    def recommend(
        self, user: Body, placements: Sequence[Body], **options: Any
    ) -> RecommendationsAnswer:
        """Lists for the places of a page; options: consent, context, explain, fields."""
        body = {"user": user, "placements": placements, **options}
        return self._send("POST", "/v1/recommendations", body, RecommendationsAnswer)

    def rerank(self, user: Body, items: Sequence[Body], **options: Any) -> RerankAnswer:
        """A list in the person's own order; options: query, consent, context."""
        body = {"user": user, "items": items, **options}
        return self._send("POST", "/v1/rerank", body, RerankAnswer)

    def send_events(self, events: Sequence[Body]) -> EventsAnswer:
        """Stores events durably and gives a result for each."""
        return self._send("POST", "/v1/events", {"events": events}, EventsAnswer)

    def put_items(self, items: Sequence[Body]) -> PutAnswer:
        """Puts catalogue items."""
        return self._send("PUT", "/v1/catalog/items", {"items": items}, PutAnswer)

    def put_profiles(self, profiles: Sequence[Body]) -> PutAnswer:
        """Declares profiles."""
        return self._send("PUT", "/v1/profiles", {"profiles": profiles}, PutAnswer)

    def ready(self) -> bool:
        """Whether the service has a model in service."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
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

    def _send(self, method: str, path: str, body: Body, answer: type[T]) -> T:
        content = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        away = "no try was made"
        for attempt in range(TRIES):
            if attempt:
                self._sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                response = self._http.request(method, path, content=content, headers=headers)
            except httpx.TransportError as error:
                away = f"{type(error).__name__}: {error}"
                continue
            if response.status_code in (503, 504):
                away = response.text
                continue
            if response.is_success:
                return msgspec.json.decode(response.content, type=answer)
            raise _refusal(response)
        raise ServiceUnavailable(503, f"{self._http.base_url} is away: {away}")


def _refusal(response: httpx.Response) -> ServiceError:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        return ServiceError(response.status_code, response.text)
    errors = problem.errors if isinstance(problem.errors, list) else []
    return ServiceError(problem.status, problem.detail, errors)
