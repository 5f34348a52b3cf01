"""The service in a process of its own, for tests that meet it as a shop does.

It ends with the test run, however that ends: a watcher process kills it when this process is gone.
No test depends on the speed of the machine: waits end when what they wait for is there, and
`patient_config` takes the product's own time limits out of the way.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import yaml

from serving.client import Client

HANG_SECONDS = 900.0
"""When a wait is taken for a hang. No promise is measured by it."""
WATCHER = 'cat >/dev/null; kill -s KILL -- "-$0"'
"""Kills a process group when the other end of its standard input is closed."""
PATIENT: dict[str, Any] = {
    "body_seconds": 60,
    "request_seconds": 60,
    "store_write_seconds": 60,
    "store_read_ms": 10_000,
    "store_rest_ms": 0,
    "queue_ms": 60_000,
}
"""Time limits that a slow and busy machine keeps."""


def patient_config(workspace: Path, **settings: Any) -> Path:
    """A file of the service's configuration in the workspace: patient, and with these settings."""
    file = workspace / "serving.yaml"
    file.write_text(yaml.safe_dump({**PATIENT, **settings}), encoding="utf-8")
    return file


@dataclass
class Service:
    """A service in a process of its own over one workspace; ended at the end of its `with`."""

    workspace: Path
    port: int
    process: subprocess.Popen[bytes]
    watcher: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, workspace: Path, *, workers: int, ready: bool = True, config: Path | None = None
    ) -> Service:
        """A started service; without `ready` it need only live, for a workspace without a model."""
        port = free_port()
        command = [sys.executable, "-m", "serving", "--workspace", str(workspace)]
        if config is not None:
            command += ["--config", str(config)]
        with (workspace / "service.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--port", str(port), "--workers", str(workers)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = cls(workspace, port, process, killed_with_this_process(process.pid))
        try:
            with service.client() as client:
                service.wait_until(client.ready if ready else service.lives)
        except BaseException:
            service.kill_everything()
            raise
        return service

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.kill_everything()

    def lives(self) -> bool:
        try:
            return self.get("/livez").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Client:
        return Client(self.url, timeout_seconds=60)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer over a connection of its own, so that any worker may give it."""
        return httpx.request(method, self.url + path, timeout=60, **options)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, json: Any) -> httpx.Response:
        return self.request("POST", path, json=json)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Returns when it is true; fails with the service's log where the service ends before."""

        def is_there() -> bool:
            assert self.process.poll() is None, (self.workspace / "service.log").read_text()
            return true()

        wait_until(is_there)

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "_bentoml_impl.worker.service" in child.cmdline()]

    def kill_everything(self) -> None:
        """Kills the service and all its workers at once; nothing is left when it returns."""
        doomed: list[psutil.Process] = []
        if self.process.poll() is None:
            top = psutil.Process(self.process.pid)
            doomed = [*top.children(recursive=True), top]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed)
        self.process.wait()
        self._dismiss_watcher()

    def stop(self) -> int:
        """Asks it to end as an operator does; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once the service has ended."""
        code = self.process.wait(HANG_SECONDS)
        self._dismiss_watcher()
        return code

    def _dismiss_watcher(self) -> None:
        assert self.watcher.stdin is not None
        self.watcher.kill()
        self.watcher.wait()
        self.watcher.stdin.close()


def killed_with_this_process(group: int) -> subprocess.Popen[bytes]:
    """A watcher that kills a process group as soon as this process is gone, however it ended."""
    return subprocess.Popen(
        ["sh", "-c", WATCHER, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until(true: Callable[[], bool]) -> None:
    """Returns when it is true; fails where that is a hang."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() < started + HANG_SECONDS
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
