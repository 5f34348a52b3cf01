"""The BentoML service: worker processes, time limits and life cycle around the application.

BentoML's own endpoints are not part of the product: all that comes over HTTP goes to the
application, whose guard admits documented paths alone.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from types import FrameType

import bentoml
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.problems import unavailable
from serving.api.routes import READY
from serving.config import config_from_environment
from serving.http.guard import send_problem
from serving.request_log import set_up_logging

config = config_from_environment(os.environ)


class Site:
    """The application of this worker, there from start-up to shutdown, and whether it is ending."""

    app: ASGIApp | None = None
    draining: bool = False


class Front:
    """ASGI middleware around BentoML's routes: HTTP is answered by the site, the rest passes on."""

    def __init__(self, app: ASGIApp, *, site: Site) -> None:
        self.bentoml_app = app
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        answering = self.bentoml_app if scope["type"] == "lifespan" else self.site.app
        assert answering is not None, "BentoML serves requests between start-up and shutdown"
        if self.site.draining and scope["type"] == "http":
            send = _ending(send)
            if scope["path"] == READY.path:
                await send_problem(unavailable("This worker is about to stop."), send)
                return
        await answering(scope, receive, send)


def _ending(send: Send) -> Send:
    """Answers tell the client to take its next request elsewhere."""

    async def ending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return ending


site = Site()


@bentoml.service(
    name="recommendations",
    workers=config.workers,
    # The application answers in time by itself; this one only cuts off what never comes to an end.
    traffic={"timeout": config.body_seconds + config.request_seconds + 1},
    # Without spans nothing is lost that anybody reads; with them each request costs 0.4 ms more.
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class RecommendationService:
    """One worker process."""

    def __init__(self) -> None:
        # The parent process imports this file as well; it needs neither the models nor the store.
        from serving.worker import Worker

        config.check_exposure()
        set_up_logging(config.log)
        self.worker = Worker.open(config)
        site.app = self.worker.app
        follow_parent(os.getppid())
        drain_first(config.drain_seconds)
        # Objects made at start-up live for hours: the collector need not visit them each time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 100)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Finishes commits and the log of answers."""
        await self.worker.close()


RecommendationService.add_asgi_middleware(Front, site=site)  # type: ignore[attr-defined]


def drain_first(seconds: float) -> None:
    """On SIGTERM goes on answering for so long, each answer ending its connection, then stops.

    A server that closes connections at once resets what is just being sent over them.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return

    def drain(number: int, frame: FrameType | None) -> None:
        if site.draining:
            stop(number, frame)
            return
        site.draining = True
        again = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()

    signal.signal(signal.SIGTERM, drain)


def follow_parent(parent: int) -> None:
    """Stops this worker when its parent is gone: an orphan would keep the port from its heir."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
