"""The guard on bare ASGI: slow bodies, vanished clients, web sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from serving.api import routes
from serving.http.guard import Guard, Limits


class Door:
    """A guard before an application that repeats the body, and what came out of it."""

    def __init__(self, *, body_seconds: float = 5.0) -> None:
        self.sent: list[Message] = []
        self.refused: list[int] = []
        self.guard = Guard(
            self.echo,
            routes=[routes.EVENTS],
            limits=Limits(body_bytes=100, body_seconds=body_seconds, api_key=None),
            refused=self.refused.append,
        )

    async def echo(self, _scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})

    def pass_through(self, receive: Receive, **scope: Any) -> None:
        async def send(message: Message) -> None:
            self.sent.append(message)

        whole: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/events",
            **scope,
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"application/json"),
                *scope.get("headers", ()),
            ],
        }
        asyncio.run(self.guard(whole, receive, send))


def arriving(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        if left:
            return left.pop(0)
        return await asyncio.Future()

    return receive


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_arrives_whole() -> None:
    door = Door()
    door.pass_through(arriving(part(b"{", more=True), part(b"}", more=False)))
    assert door.sent[-1]["body"] == b"{}"
    assert door.refused == []


def test_a_body_that_does_not_come_to_an_end_is_answered_with_408() -> None:
    door = Door(body_seconds=0.02)
    door.pass_through(arriving(part(b"{", more=True)))
    assert door.sent[0]["status"] == 408
    assert (b"connection", b"close") in door.sent[0]["headers"]
    assert json.loads(door.sent[1]["body"])["status"] == 408
    assert door.refused == [408]


def test_a_body_is_cut_at_the_limit_whatever_length_it_claims() -> None:
    door = Door()
    door.pass_through(arriving(part(b"x" * 60, more=True), part(b"x" * 60, more=True)))
    assert door.sent[0]["status"] == 413
    for length in (b"101", b"9" * 5000, b"-1", b"a lot"):
        door = Door()
        door.pass_through(arriving(), headers=[(b"content-length", length)])
        assert door.sent[0]["status"] == 413


def test_a_client_that_leaves_before_its_body_is_complete_gets_no_answer() -> None:
    door = Door()
    door.pass_through(arriving(part(b"{", more=True), {"type": "http.disconnect"}))
    assert door.sent == []


def test_web_sockets_are_closed() -> None:
    door = Door()
    door.pass_through(arriving(), type="websocket")
    assert door.sent == [{"type": "websocket.close", "code": 1008}]
