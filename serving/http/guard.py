"""The guard: refuses unknown paths and methods, wrong keys, and bodies that are too large or slow.

It runs before all routing, so that no handler sees an unread or unlimited body.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.problems import MEDIA_TYPE, ProblemError, encode_problem
from serving.api.routes import Route
from serving.config import is_loopback


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a request: bytes of its body, seconds until the body is complete, and the key."""

    body_bytes: int
    body_seconds: float
    api_key: str | None


class Guard:
    """ASGI middleware: admits documented requests with a whole body, refuses all others.

    Refusals are problem details, 421, 404, 405, 401, 415, 413, 408 in this order, and each is
    reported to `refused` with its status. Without a key, `Host` must name this machine: a page in
    somebody's browser that points its own name at 127.0.0.1 is then turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Collection[Route[Any, Any]],
        limits: Limits,
        refused: Callable[[int], None],
    ) -> None:
        self.app = app
        self.refused = refused
        self.methods = {
            route.path: frozenset(("GET", "HEAD") if route.method == "GET" else (route.method,))
            for route in routes
        }
        self.open_paths = frozenset(route.path for route in routes if not route.needs_key)
        self.limits = limits
        self.key = None if limits.api_key is None else limits.api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admits or refuses a request; what is not HTTP passes (lifespan)."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._admit(scope)
            if scope["method"] in ("POST", "PUT"):
                receive = _replay(await self._body(scope, receive))
        except ProblemError as problem:
            self.refused(problem.status)
            await send_problem(problem, send)
            return
        except _ClientGone:
            return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        if self.key is None and not _names_this_machine(_headers(scope).get(b"host", b"")):
            raise ProblemError(421, "Without an API key only this machine's own names are served.")
        path, method = scope["path"], scope["method"]
        methods = self.methods.get(path)
        if methods is None:
            raise ProblemError(404, "Paths are listed in /openapi.json.")
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            raise ProblemError(405, f"Use {allowed}.", headers={"Allow": allowed})
        if self.key is not None and path not in self.open_paths and not self._has_key(scope):
            raise ProblemError(
                401,
                "Send the key in the header X-API-Key or as Authorization: Bearer.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if method in ("POST", "PUT"):
            _check_content(_headers(scope), self.limits.body_bytes)

    def _has_key(self, scope: Scope) -> bool:
        headers = _headers(scope)
        sent = headers.get(b"x-api-key")
        if sent is None:
            kind, _, token = headers.get(b"authorization", b"").partition(b" ")
            sent = token.strip() if kind.lower() == b"bearer" else b""
        return self.key is not None and hmac.compare_digest(sent, self.key)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await _read_body(receive, self.limits.body_bytes)
        except TimeoutError:
            raise ProblemError(
                408,
                f"The body must arrive within {self.limits.body_seconds:g} seconds.",
                headers={"Connection": "close"},
            ) from None


class _ClientGone(Exception):
    """The client closed the connection before its body was complete."""


def _headers(scope: Scope) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    return headers


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    if not name.endswith("]"):
        name = name.rpartition(":")[0] if name.count(":") == 1 or "]:" in name else name
    return is_loopback(name.strip("[]"))


def _check_content(headers: Mapping[bytes, bytes], body_bytes: int) -> None:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise ProblemError(415, "Send JSON with the header Content-Type: application/json.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ProblemError(415, "Send the body without Content-Encoding.")
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length[:20]) > body_bytes):
        raise _too_large(body_bytes)


async def _read_body(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is not read, so the connection cannot be used for another request.
    return ProblemError(
        413,
        f"A body has at most {limit} bytes; send smaller batches.",
        headers={"Connection": "close"},
    )


def _replay(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def send_problem(problem: ProblemError, send: Send) -> None:
    """Sends the problem over bare ASGI."""
    body = encode_problem(problem)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
