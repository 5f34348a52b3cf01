"""Valid bodies with one thing changed into anything at all: never a 5xx, always JSON."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.api.routes import ROUTES, Route
from serving.config import ServingConfig
from serving.worker import Worker

WITH_BODY = [route for route in ROUTES if route.takes_body]
Send = Callable[[str, str, bytes], httpx.Response]

ODD_TEXT = st.sampled_from(
    ["", "\x00", "\ud800", "😀" * 200, "a" * 600, "$.items[0]", "NaN", "null"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    ODD_TEXT,
    st.sampled_from(["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-21"]),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None]) -> Iterator[Send]:
    """Sends a body to one worker in this process."""
    config = ServingConfig(workspace=tmp_path_factory.mktemp("fuzz"))
    publish(config.published_root, "v1")
    worker = Worker.open(config)
    with asyncio.Runner() as runner:

        def send(method: str, path: str, body: bytes) -> httpx.Response:
            async def ask() -> httpx.Response:
                transport = httpx.ASGITransport(worker.app)
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://127.0.0.1"
                ) as http:
                    headers = {"Content-Type": "application/json"}
                    return await http.request(method, path, content=body, headers=headers)

            return runner.run(ask())

        yield send
        runner.run(worker.close())


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in a JSON value, the whole of it first."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(inner, (*path, key))


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The body with the value at the path replaced."""
    if not path:
        return value
    body = copy.deepcopy(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return body


def fresh(route: Route[Any, Any]) -> dict[str, Any]:
    """The documented example, with the present as the time of its events."""
    body = copy.deepcopy(route.example.request)
    for event in body.get("events", ()):
        event["timestamp"] = datetime.now(UTC).isoformat()
    return body


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.path)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(choices=st.data())
def test_a_body_with_one_odd_value_is_answered_and_never_a_5xx(
    send: Send, route: Route[Any, Any], choices: st.DataObject
) -> None:
    body = fresh(route)
    path = choices.draw(st.sampled_from(list(paths_in(body))))
    odd = changed(body, path, choices.draw(ANYTHING))
    answer = send(route.method, route.path, json.dumps(odd).encode())
    assert answer.status_code < 500, (odd, answer.text)
    assert "json" in answer.headers["content-type"]
    answer.json()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_body_at_all_are_a_400_or_422(send: Send, body: bytes) -> None:
    answer = send("POST", "/v1/events", body)
    assert answer.status_code in (400, 422)
