"""The service in a process of its own, for tests that meet it as a shop does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from serving.client import Client


@dataclass
class Service:
    """A service in a process of its own over one workspace."""

    workspace: Path
    port: int
    process: subprocess.Popen[bytes]

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
            )
        service = cls(workspace, port, process)
        with service.client() as client:
            service.wait_until(client.ready if ready else service.lives)
        return service

    def lives(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Client:
        return Client(self.url)

    def wait_until(self, true: Callable[[], bool], *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            log = (self.workspace / "service.log").read_text()
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.05)

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "_bentoml_impl.worker.service" in child.cmdline()]

    def kill_everything(self) -> None:
        doomed = [*psutil.Process(self.process.pid).children(recursive=True), self.process]
        for process in doomed:
            process.kill()
        for process in doomed:
            process.wait(10)

    def stop(self) -> int:
        """Asks it to end as an operator does; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
