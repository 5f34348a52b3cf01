"""The client against a real listener that is away at first."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from serving.client import Client, ServiceError, ServiceUnavailable

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
    heard: list[bytes] = field(default_factory=list)

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
                self.heard.append(_whole_request(connection))
                connection.sendall(prepared)


def _whole_request(connection: socket.socket) -> bytes:
    heard = b""
    while True:
        heard += connection.recv(65_536)
        head, blank, body = heard.partition(b"\r\n\r\n")
        lengths = re.findall(rb"content-length: (\d+)", head.lower())
        if blank and len(body) >= sum(map(int, lengths)):
            return heard


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
    assert pauses == [0.2, 0.4]
    bodies = {request.partition(b"\r\n\r\n")[2] for request in listener.heard}
    assert bodies == {b'{"events":[{"event_id":"1"}]}'}
    assert all(b"x-api-key: k" in request.lower() for request in listener.heard)


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
    assert len(listener.heard) == 1


def test_nobody_there_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()
