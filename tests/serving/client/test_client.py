"""The client against a real listener that is away at first."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import get_type_hints

import pytest

from serving.api import routes
from serving.client import (
    AsyncClient,
    Client,
    InvalidRequest,
    KeyRefused,
    Patience,
    ServiceError,
    ServiceUnavailable,
    calls,
)

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
GOOD = b'{"results": [], "accepted": 1, "duplicates": 0, "rejected": 0}'


def answer(status: bytes, body: bytes) -> bytes:
    length = str(len(body)).encode()
    return (
        b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\nConnection: close\r\n\r\n"
    ) + body


@dataclass
class Listener:
    """Gives one prepared answer per connection; an empty one hangs up."""

    answers: list[bytes]
    feedback_state: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._thread.join(5)
        self._socket.close()

    def _listen(self) -> None:
        for prepared in self.answers:
            connection, _ = self._socket.accept()
            with connection:
                self.feedback_state.append(_whole_request(connection))
                connection.sendall(prepared)


def _whole_request(connection: socket.socket) -> bytes:
    feedback_state = b""
    while True:
        feedback_state += connection.recv(65_536)
        head, blank, body = feedback_state.partition(b"\r\n\r\n")
        lengths = re.findall(rb"content-length: (\d+)", head.lower())
        if blank and len(body) >= sum(map(int, lengths)):
            return feedback_state


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*answers: bytes) -> Listener:
        listeners.append(Listener(list(answers)))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


def test_a_service_that_comes_back_is_asked_again_with_the_same_body(
    listen: Callable[..., Listener],
) -> None:
    listener = listen(UNAVAILABLE, b"", answer(b"200 OK", GOOD))
    pauses: list[float] = []
    with Client(listener.url, api_key="k", sleep=pauses.append) as client:
        assert client.send_events([{"event_id": "1"}]).accepted == 1
    assert pauses == [5.0, 0.4]  # the first as Retry-After says
    bodies = {request.partition(b"\r\n\r\n")[2] for request in listener.feedback_state}
    assert bodies == {b'{"events":[{"event_id":"1"}]}'}
    assert all(b"x-api-key: k" in request.lower() for request in listener.feedback_state)


def test_a_service_that_stays_away_raises_after_three_tries(
    listen: Callable[..., Listener],
) -> None:
    listener = listen(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    with (
        Client(listener.url, sleep=lambda _seconds: None) as client,
        pytest.raises(ServiceUnavailable),
    ):
        client.put_profiles([{"user_id": "u"}])


def test_a_refusal_is_not_repeated(listen: Callable[..., Listener]) -> None:
    problem = (
        b'{"type": "urn:x", "title": "T", "status": 422, "detail": "D",'
        b' "errors": [{"field": "items", "remedy": "send some"}]}'
    )
    listener = listen(answer(b"422 Unprocessable Content", problem))
    with Client(listener.url) as client, pytest.raises(ServiceError) as caught:
        client.rerank({}, [])
    assert (caught.value.status, caught.value.errors[0].field) == (422, "items")
    assert len(listener.feedback_state) == 1


def test_nobody_there_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()


REFUSED_KEY = answer(
    b"401 Unauthorized", b'{"type": "urn:x", "title": "T", "status": 401, "detail": "D"}'
)
SEARCHED = {"hits": {"hits": [{"_id": "a", "_score": 2.0}, {"_id": "b", "_score": 1.0}]}}
PLACES = [{"placement": "for_you", "k": 2}, {"placement": "similar", "items": ["c"], "k": 5}]


def away() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_wait_beyond_its_patience_is_not_begun(listen: Callable[..., Listener]) -> None:
    listener = listen(UNAVAILABLE)
    pauses: list[float] = []
    patience = Patience(seconds=1.0)
    with (
        Client(listener.url, patience=patience, sleep=pauses.append) as client,
        pytest.raises(ServiceUnavailable, match="attempts: 1"),
    ):
        client.put_items([{"item_id": "a"}])
    assert pauses == []


def test_what_may_have_been_done_is_repeated_only_where_that_is_harmless(
    listen: Callable[..., Listener],
) -> None:
    body = {"client_id": "c", "events": [{"name": "view_item"}]}
    with (
        Client(listen(b"").url, sleep=lambda _seconds: None) as client,
        pytest.raises(ServiceUnavailable, match="attempts: 1"),
    ):
        client.send_ga4_events(body)
    timed = {**body, "timestamp_micros": 1}
    with Client(listen(b"", answer(b"200 OK", GOOD)).url, sleep=lambda _s: None) as client:
        assert client.send_ga4_events(timed).accepted == 1
    with Client(listen(UNAVAILABLE, answer(b"200 OK", GOOD)).url, sleep=lambda _s: None) as client:
        assert client.send_ga4_events(body).accepted == 1  # 503: nothing was done


def test_a_wrong_key_and_a_wrong_field_are_told_apart(listen: Callable[..., Listener]) -> None:
    with Client(listen(REFUSED_KEY).url) as client, pytest.raises(KeyRefused):
        client.send_events([])
    with (
        Client(listen(answer(b"413 Too Large", b"x")).url) as client,
        pytest.raises(InvalidRequest, match="413: x"),
    ):
        client.send_events([])


def test_every_route_has_a_method_in_both_clients() -> None:
    made = [
        calls.recommendations({}, [], {}, ()),
        calls.reranking({}, [], {}),
        calls.events([]),
        calls.ga4_events({}),
        calls.segment_events({}),
        calls.items([]),
        calls.stock([]),
        calls.profiles([]),
        calls.feedback({}, "like", {}),
        calls.preferences({}, {}),
        calls.preferences_on_record({}),
        calls.export({}, None),
        calls.erasure({}),
        calls.experiments(),
        calls.kpi(),
    ]
    of_operators = {routes.LIVE, routes.READY, routes.METRICS, routes.OPENAPI}
    in_this_process = {routes.RERANK_ELASTICSEARCH}
    assert {call.route for call in made} == set(routes.ROUTES) - of_operators - in_this_process
    for name in dir(Client):
        if not name.startswith("_"):
            assert inspect.signature(getattr(Client, name)).parameters.keys() == (
                inspect.signature(getattr(AsyncClient, name)).parameters.keys()
            ), name


def test_a_client_that_was_told_what_to_do_on_failure_never_raises_on_a_page() -> None:
    failures: list[ServiceError] = []
    with Client(away(), on_failure=failures.append, sleep=lambda _seconds: None) as client:
        page = client.recommend({}, PLACES, or_else=["a", "b", "c", "d"])
        ranked = client.rerank({}, [{"item_id": "x"}, {"item_id": "y"}])
        stored = client.send_events([{"event_id": "1"}])
        hits = client.rerank_hits({}, SEARCHED)
        assert client.rerank_hits({}, {"error": "shard failed"}) == {"error": "shard failed"}
    assert [[item.item_id for item in listed.items] for listed in page.placements] == [
        ["a", "b"],
        ["d"],
    ]
    assert page.degraded
    assert [item.item_id for item in ranked.items] == ["x", "y"]
    assert (stored.accepted, stored.rejected) == (0, 1)
    assert hits["hits"] == SEARCHED["hits"]
    assert [error.status for error in failures] == [503, 503, 503, 503, 422]


def test_what_no_page_needs_raises_all_the_same() -> None:
    client = Client(away(), on_failure=lambda _error: None, sleep=lambda _seconds: None)
    with client, pytest.raises(ServiceUnavailable):
        client.put_items([{"item_id": "a"}])


def test_the_async_client_does_as_the_other(listen: Callable[..., Listener]) -> None:
    listener = listen(UNAVAILABLE, answer(b"200 OK", GOOD), REFUSED_KEY)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def talk() -> None:
        async with AsyncClient(listener.url, api_key="k", sleep=pause) as client:
            assert (await client.send_events([{"event_id": "1"}])).accepted == 1
            with pytest.raises(KeyRefused):
                await client.put_stock([{"item_id": "a", "stock": 1}])
        failures: list[ServiceError] = []
        async with AsyncClient(away(), on_failure=failures.append, sleep=pause) as client:
            page = await client.recommend({}, PLACES, or_else=["a"])
            assert [item.item_id for item in page.placements[0].items] == ["a"]
            assert not await client.ready()
            assert (await client.rerank_hits({}, SEARCHED))["hits"] == SEARCHED["hits"]
        assert len(failures) == 2

    asyncio.run(talk())
    assert pauses[0] == 5.0
    assert all(b"x-api-key: k" in request.lower() for request in listener.feedback_state)


LIGHT = """
import sys
import serving.client
heavy = {"bentoml", "mlflow", "starlette", "pandas", "numba", "duckdb", "pyarrow", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""


def test_the_client_loads_no_service_no_trainer_and_no_compiled_kernels() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_of_the_client_package_need_no_type_checker_to_resolve() -> None:
    for call in (calls.experiments, calls.kpi):
        assert get_type_hints(call)["return"]
