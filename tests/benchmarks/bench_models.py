"""Training and asking the models: seconds and milliseconds beside the plain way with a library."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from recsys.models.als import ALSConfig, ALSModel, fit_als
from recsys.models.random_walk import RandomWalkConfig, fit_random_walk
from recsys.query import History, Query
from tests.benchmarks.made_data import made_data

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
USERS, ITEMS, INTERACTIONS = 50_000, 20_000, 2_000_000
EPOCHS = 3


def rows() -> dict[str, dict[str, Any]]:
    data = made_data(users=USERS, items=ITEMS, interactions=INTERACTIONS, as_of=AS_OF, seed=1)
    rng = np.random.default_rng(1)
    found: dict[str, dict[str, Any]] = {}
    with threadpool_limits(1, "blas"):
        config = ALSConfig(embedding_size=128, epochs=EPOCHS, threads=2)
        ours, als = timed(lambda: fit_als(data, config, rng=rng))
        theirs, _ = timed(lambda: implicit_als(data.interactions))
        found["models/als_fit_seconds_per_epoch"] = row(
            ours / EPOCHS, "s", "implicit alone", ours / theirs
        )
        seconds, walk = timed(
            lambda: fit_random_walk(data, RandomWalkConfig(neighbours=100), rng=rng)
        )
        found["models/random_walk_fit_seconds"] = row(seconds, "s", None, None)
        for name, model in (("als", als), ("random_walk", walk)):
            middle, slow = retrieving(model, rng)
            found[f"models/{name}_retrieve_p50_ms"] = row(middle, "ms", None, None)
            found[f"models/{name}_retrieve_p99_ms"] = row(slow, "ms", None, None)
    return found


def implicit_als(interactions: csr_array) -> None:
    model = AlternatingLeastSquares(
        factors=128, regularization=5.0, iterations=EPOCHS, num_threads=2, random_state=1
    )
    model.fit(csr_matrix(interactions), show_progress=False)


def retrieving(model: ALSModel | Any, rng: np.random.Generator) -> tuple[float, float]:
    """Milliseconds of one query of 50 items for 20: the median and the slowest hundredth."""
    eligible = np.ones(ITEMS, np.bool_)
    spent = []
    for _ in range(500):
        items = rng.choice(ITEMS, 50, replace=False).astype(np.int32)
        history = History(
            items, np.zeros(50, np.int8), np.full(50, AS_OF.timestamp()), np.ones(50, np.float32)
        )
        query = Query(now=AS_OF, history=history)
        started = time.perf_counter()
        model.condition([query]).retrieve(20, eligible)
        spent.append((time.perf_counter() - started) * 1000)
    return float(np.median(spent)), float(np.quantile(spent, 0.99))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def row(value: float, unit: str, peer: str | None, ratio: float | None) -> dict[str, Any]:
    return {"value": value, "unit": unit, "peer": peer, "ratio": ratio}
