"""The peers of the serving benchmark, each a server in separate processes."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.support.running_service import free_port

NO_OP = """
import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

async def answer(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"ok": True})

paths = ("/v1/recommendations", "/v1/rerank", "/v1/events")
routes = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in paths])

@bentoml.asgi_app(routes)
@bentoml.service(name="no_op", workers=WORKERS)
class NoOp:
    pass
"""
PLAIN = """
import numpy as np
from fastapi import FastAPI
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel
from scipy.sparse import csr_matrix

factors = np.load(FACTORS)
model = AlternatingLeastSquares(factors=factors.shape[1], num_threads=1)
rng = np.random.default_rng(1)
model.item_factors = factors
model.user_factors = rng.normal(0, 0.1, (100_000, factors.shape[1])).astype(np.float32)
nothing = csr_matrix((1, len(factors)), dtype=np.float32)
app = FastAPI()

class Page(BaseModel):
    user: dict[str, str]
    placements: list[dict[str, object]]

@app.get("/readyz")
def ready() -> dict[str, str]:
    return {}

@app.post("/v1/recommendations")
def recommend(page: Page) -> dict[str, object]:
    number = int(page.user["user_id"][-8:])
    lists = []
    for placement in page.placements:
        ids, scores = model.recommend(
            number, nothing, N=int(placement["k"]), filter_already_liked_items=False
        )
        items = [
            {"item_id": f"item-{n:07}", "score": s}
            for n, s in zip(ids.tolist(), scores.tolist())
        ]
        lists.append({"placement": placement["placement"], "items": items})
    return {"placements": lists}
"""


@contextmanager
def bentoml_no_op(workspace: Path, *, workers: int) -> Iterator[int]:
    """Bare BentoML with mounted routes that return a constant; yields its port."""
    port = free_port()
    folder = workspace / "no-op"
    folder.mkdir(exist_ok=True)
    (folder / "peer.py").write_text(NO_OP.replace("WORKERS", str(workers)))
    command = [sys.executable, "-m", "bentoml", "serve", "peer:NoOp", f"--port={port}"]
    environment = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    with _running([*command, "--host=127.0.0.1", f"--working-dir={folder}"], port, environment):
        yield port


@contextmanager
def plain_fastapi(workspace: Path, *, workers: int) -> Iterator[int]:
    """FastAPI and `implicit` over the bundle's factors; yields its port."""
    port = free_port()
    folder = workspace / "plain"
    folder.mkdir(exist_ok=True)
    (factors,) = workspace.glob("published/bundles/*/models/als/item_factors.npy")
    (folder / "peer.py").write_text(PLAIN.replace("FACTORS", repr(str(factors))))
    command = [sys.executable, "-m", "uvicorn", "peer:app", f"--port={port}"]
    command += [f"--workers={workers}", "--no-access-log", f"--app-dir={folder}"]
    with _running(command, port, {"OPENBLAS_NUM_THREADS": "1"}):
        yield port


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = psutil.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            deadline = time.monotonic() + 120
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield
        finally:
            workers = process.children(recursive=True) if process.poll() is None else []
            process.terminate()
            for left in psutil.wait_procs([process, *workers], timeout=30)[1]:
                left.kill()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
