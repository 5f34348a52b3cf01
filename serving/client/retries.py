"""Retries of a call: the meaning of each outcome, and how long to wait for the next attempt.

ServiceError             the service refused the request
├── InvalidRequest       a field is wrong: see `errors` (400, 413, 415, 422)
├── KeyRefused           the API key is missing or wrong (401)
└── ServiceUnavailable   no answer after all attempts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from recsys.errors import InvalidInput
from serving.api.schemas import FieldError, Problem
from serving.api.search_hits import items_of
from serving.client.calls import Call, T

PAUSE_SECONDS: Final = 0.2
"""Before the second attempt; twice as long before each further one."""
JSON: Final = {"Content-Type": "application/json"}
KEPT: Final = httpx.Limits(max_keepalive_connections=20, keepalive_expiry=60)
"""Idle connections are closed before the service would close them (after 75 s)."""
NOTHING_WAS_DONE: Final = (429, 503)
"""The service says so with these; what a proxy says with 502 or 504 may have been done."""
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ServiceError(Exception):
    """The service refused a request; `errors` names the fields that are wrong."""

    def __init__(self, status: int, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)


class InvalidRequest(ServiceError):
    """A field of the request is wrong; sending it again changes nothing."""


class KeyRefused(ServiceError):
    """The API key is missing or wrong."""


class ServiceUnavailable(ServiceError):
    """No answer after all attempts: the service, its store or its model is away."""


OnFailure = Callable[[ServiceError], None]
"""Called with the error instead of raising it on a page."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take in all: attempts, and seconds from its start to its last wait."""

    attempts: int = 3
    seconds: float = 10.0


@dataclass(slots=True)
class Attempts:
    """The attempts of one call. Each outcome gives the seconds to wait, or raises ServiceError."""

    patience: Patience
    repeatable: bool
    started: float
    made: int = 0

    def failed(self, error: httpx.RequestError, *, now: float) -> float:
        """No answer came. A call that may not be done twice goes on only if it was never sent."""
        return self._next(
            f"{type(error).__name__}: {error}",
            again=self.repeatable or isinstance(error, _NOT_SENT),
            at_least=0.0,
            now=now,
        )

    def refused(self, response: httpx.Response, *, now: float) -> float:
        """An answer came that is no success; `Retry-After` is waited out."""
        status = response.status_code
        if status in NOTHING_WAS_DONE or (status in (502, 504) and self.repeatable):
            return self._next(
                response.text[:500] or response.reason_phrase,
                again=True,
                at_least=_retry_after(response),
                now=now,
            )
        raise _refusal(response)

    def _next(self, why: str, *, again: bool, at_least: float, now: float) -> float:
        self.made += 1
        pause: float = max(PAUSE_SECONDS * 2 ** (self.made - 1), at_least)
        late = now + pause - self.started > self.patience.seconds
        if not again or self.made >= self.patience.attempts or late:
            raise ServiceUnavailable(503, f"no answer, attempts: {self.made}; {why}")
        return pause


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """The typed answer; ServiceError where the service speaks another version of this interface."""
    try:
        return msgspec.json.decode(response.content, type=call.route.answer)
    except msgspec.DecodeError as error:
        raise ServiceError(
            response.status_code,
            f"{call.route.path} answered something else than documented ({error})",
        ) from error


def key_header(api_key: str | None) -> dict[str, str]:
    """The header that lets a client in."""
    return {} if api_key is None else {"X-API-Key": api_key}


def fall_back(call: Call[T], error: ServiceError, on_failure: OnFailure | None) -> T:
    """The call's fallback; raises without `on_failure`, or where the call has no fallback."""
    if on_failure is None or call.fallback is None:
        raise error
    on_failure(error)
    return call.fallback()


def listed_hits(
    response: Mapping[str, Any], id_field: str, on_failure: OnFailure | None
) -> list[dict[str, Any]]:
    """The items of a search answer; none where it is none and `on_failure` was called."""
    try:
        return items_of(response, id_field=id_field)
    except InvalidInput as error:
        refusal = InvalidRequest(422, str(error))
        if on_failure is None:
            raise refusal from error
        on_failure(refusal)
        return []


def _retry_after(response: httpx.Response) -> float:
    """Seconds; 0 where the header is absent or a date, which our service never sends."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _refusal(response: httpx.Response) -> ServiceError:
    status = response.status_code
    kind = KeyRefused if status == 401 else InvalidRequest if status in _INVALID else ServiceError
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        return kind(status, response.text[:500])
    errors = problem.errors if isinstance(problem.errors, list) else []
    return kind(problem.status, problem.detail, errors)


_INVALID: Final = (400, 404, 405, 413, 415, 421, 422)
