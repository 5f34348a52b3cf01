"""Fitting at the size of a large shop: seconds, and GB of the process that did it alone."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.models.factorisation.als import ALSConfig, fit_als
from recsys.models.item_to_item.random_walk import RandomWalkConfig, fit_random_walk
from recsys.models.sessions.session_knn import SessionKnnConfig, fit_session_knn
from tests.benchmarks.made_data import made_data, viewed

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
USERS, ITEMS, INTERACTIONS = 136_677, 20_108, 11_600_000
CLICKS, VISITORS, CLICKED_ITEMS = 20_000_000, 2_000_000, 500_000
EPOCHS = 2
Row = dict[str, Any]


def rows() -> dict[str, Row]:
    als = apart(als_epochs)
    walk = apart(random_walk)
    sessions = apart(session_index)
    return {
        "models/als_fit_seconds_per_epoch": row(
            als["ours"] / EPOCHS, "s", "implicit alone", als["ours"] / als["implicit"]
        ),
        "models/random_walk_fit_seconds": row(walk["seconds"], "s"),
        "models/random_walk_fit_gb": row(walk["gb"], "GB, whole process"),
        "models/random_walk_data_gb": row(walk["data_gb"], "GB of it before the fit"),
        "models/session_index_seconds": row(sessions["seconds"], "s"),
        "models/session_index_gb": row(sessions["gb"], "GB, whole process"),
    }


def als_epochs() -> dict[str, float]:
    """Seconds of EPOCHS epochs at 128 dimensions: ours, and the library's on the same matrix."""
    data = shop()
    rng = np.random.default_rng(1)
    config = ALSConfig(embedding_size=128, epochs=EPOCHS, threads=2)
    with threadpool_limits(1, "blas"):
        theirs = seconds(partial(implicit_als, data.interactions))
        ours = seconds(lambda: fit_als(data, config, rng=rng))
    return {"ours": ours, "implicit": theirs}


def random_walk() -> dict[str, float]:
    data = shop()
    before = peak_gb()
    spent = seconds(
        lambda: fit_random_walk(
            data, RandomWalkConfig(neighbours=100), rng=np.random.default_rng(1)
        )
    )
    return {"seconds": spent, "gb": peak_gb(), "data_gb": before}


def session_index() -> dict[str, float]:
    rng = np.random.default_rng(1)
    warm = viewed(made_data(users=100, items=100, interactions=1_000, as_of=AS_OF, seed=1))
    fit_session_knn(warm, SessionKnnConfig(), rng=rng)
    data = viewed(
        made_data(users=VISITORS, items=CLICKED_ITEMS, interactions=CLICKS, as_of=AS_OF, seed=1)
    )
    spent = seconds(lambda: fit_session_knn(data, SessionKnnConfig(), rng=rng))
    return {"seconds": spent, "gb": peak_gb()}


def shop() -> TrainingData:
    return made_data(users=USERS, items=ITEMS, interactions=INTERACTIONS, as_of=AS_OF, seed=1)


def implicit_als(interactions: csr_array) -> None:
    model = AlternatingLeastSquares(
        factors=128, regularization=5.0, iterations=EPOCHS, num_threads=2, random_state=1
    )
    model.fit(csr_matrix(interactions), show_progress=False)


def apart(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The figures that `work` returns, measured in a new process, so that memory is its alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work)


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def row(value: float, unit: str, peer: str | None = None, ratio: float | None = None) -> Row:
    return {"value": value, "unit": unit, "peer": peer, "ratio": ratio}
