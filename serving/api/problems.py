"""Every error as RFC 9457 problem details: what is wrong, with which field, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from recsys.errors import InvalidInput
from serving.api.schemas import FieldError, Problem

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
"""What `Retry-After` says while the store or a bundle is missing."""

_TITLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("unreadable-body", "The body cannot be read"),
    401: ("key-required", "An API key is required"),
    404: ("not-found", "There is no such path"),
    405: ("method-not-allowed", "The path has another method"),
    408: ("slow-body", "The body took too long to arrive"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body is not JSON"),
    421: ("misdirected", "The request is for another host"),
    422: ("invalid-request", "The request breaks a documented rule"),
    500: ("internal-error", "The service made an error"),
    503: ("unavailable", "The service cannot answer now"),
}


class ProblemError(Exception):
    """A request that is answered with a problem instead of a result."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


def invalid(field: str, value: object, remedy: str) -> ProblemError:
    """422: a field has a value that it may not have."""
    return invalid_input(InvalidInput(field, value, remedy))


def invalid_input(error: InvalidInput, *, status: int = 422) -> ProblemError:
    """The library's complaint about a field as a problem."""
    field = FieldError(
        field=error.field,
        value=UNSET if error.value is None else _short(error.value),
        remedy=error.remedy,
    )
    return ProblemError(status, f"{error.field}: {error.remedy}", errors=[field])


def unavailable(detail: str) -> ProblemError:
    """503 with `Retry-After`: nothing is wrong with the request, it may be sent again."""
    return ProblemError(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def encode_problem(error: ProblemError) -> bytes:
    """The body of the answer."""
    kind, title = _TITLES[error.status]
    return msgspec.json.encode(
        Problem(
            type=f"urn:recsys:problem:{kind}",
            title=title,
            status=error.status,
            detail=error.detail,
            errors=error.errors if error.errors else UNSET,
        )
    )


def _short(value: object) -> str:
    # A lone surrogate or an over-long text must not break the answer that complains about it.
    shown = value if isinstance(value, str) else repr(value)
    shown = shown.encode("utf-8", "replace").decode("utf-8")
    return shown if len(shown) <= 80 else shown[:77] + "..."
