"""An application behind a real server in a thread of this process: HTTP without a start-up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from running_service import free_port
from starlette.applications import Starlette


class _Server(uvicorn.Server):
    """A server that says when it listens and leaves the signals to the tests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serve_in_thread(app: Starlette) -> Iterator[str]:
    """The URL at which the application answers until the block ends."""
    port = free_port()
    server = _Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, name="served-in-process", daemon=True)
    thread.start()
    try:
        while not server.listening.wait(0.1):
            assert thread.is_alive(), "the server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
