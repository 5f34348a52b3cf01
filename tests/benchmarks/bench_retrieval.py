"""Retrieval of 20 of 100,000 items by each model family: milliseconds of a query, one thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.events.schema import PURCHASE
from recsys.models.protocol import Model
from recsys.models.registry import MODELS
from recsys.models.sessions.session_knn import SessionKnnConfig, fit_session_knn
from recsys.query.history import History
from recsys.query.query import Context, Query
from tests.benchmarks.bench_models import AS_OF, CLICKED_ITEMS, CLICKS, VISITORS
from tests.benchmarks.made_data import COUNTRIES, WORDS, described, made_data, viewed

ITEMS, USERS, INTERACTIONS = 100_000, 200_000, 4_000_000
EASE_ITEMS = 20_000
HISTORY, VISIT, QUERIES = 50, 5, 1_000
FAST_TO_FIT: Mapping[str, Mapping[str, Any]] = {
    "als": {"epochs": 1},
    "ials": {"epochs": 1},
    "bpr": {"epochs": 1},
    "hybrid": {"epochs": 1, "max_positives": 20_000},
    "graph_filter": {"rounds": 1},
}
"""Settings that spare fitting time and leave the size of the model, hence its answers, alone."""
Row = dict[str, Any]


def rows() -> dict[str, Row]:
    """p50 and p99 per family; session k-NN also over twenty million clicks."""
    results: dict[str, Row] = {}
    data = shop(ITEMS)
    with threadpool_limits(1, "blas"):
        for name in MODELS:
            small = name == "ease"
            learnt = shop(EASE_ITEMS) if small else data
            results |= latencies(name, fitted(name, learnt), EASE_ITEMS if small else ITEMS)
        clicks = viewed(
            made_data(users=VISITORS, items=CLICKED_ITEMS, interactions=CLICKS, as_of=AS_OF, seed=1)
        )
        index = fit_session_knn(clicks, SessionKnnConfig(), rng=np.random.default_rng(1))
        del clicks
        results |= latencies("session_knn_20m_clicks", index, CLICKED_ITEMS)
    return results


def shop(items: int) -> TrainingData:
    made = made_data(users=USERS, items=items, interactions=INTERACTIONS, as_of=AS_OF, seed=1)
    return described(made, seed=1)


def fitted(name: str, data: TrainingData) -> Model:
    family = MODELS[name]
    config = family.config(**FAST_TO_FIT.get(name, {}))
    learnt = viewed(data) if name == "session_knn" else data
    return family.fit(learnt, config, rng=np.random.default_rng(1))


def latencies(name: str, model: Model, items: int) -> dict[str, Row]:
    """Fold-in of a history of 50, a visit of 5 and a cart of 2 items, then the best 20."""
    rng = np.random.default_rng(2)
    eligible = np.ones(items, np.bool_)
    queries = [made_query(items, rng) for _ in range(QUERIES)]
    for query in queries[:20]:
        model.condition([query]).retrieve(20, eligible)
    spent = []
    for query in queries:
        started = time.perf_counter()
        model.condition([query]).retrieve(20, eligible)
        spent.append((time.perf_counter() - started) * 1000)
    return {
        f"retrieval/{name}_p50_ms": row(float(np.median(spent))),
        f"retrieval/{name}_p99_ms": row(float(np.quantile(spent, 0.99))),
    }


def made_query(items: int, rng: np.random.Generator) -> Query:
    """A query whose items are drawn by the popularity of the shop's purchases."""
    ranks = (10.0 * (1.0 + items / 10.0) ** rng.random(HISTORY) - 10.0).astype(np.int32)
    numbers = np.minimum(ranks, items - 1)
    now = AS_OF.timestamp()
    history = History(
        numbers,
        np.full(HISTORY, PURCHASE, np.int8),
        np.sort(now - rng.uniform(0, 5e6, HISTORY)),
        rng.uniform(0.2, 1.0, HISTORY).astype(np.float32),
    )
    visit = History(
        numbers[:VISIT],
        np.zeros(VISIT, np.int8),
        np.full(VISIT, now - 60.0),
        np.ones(VISIT, np.float32),
    )
    return Query(
        now=datetime.fromtimestamp(now, UTC),
        history=history,
        session=visit,
        seeds=np.unique(numbers[VISIT : VISIT + 2]),
        context=Context(
            country=COUNTRIES[int(rng.integers(len(COUNTRIES)))],
            search_term=f"word{int(rng.integers(WORDS))}",
        ),
        known=True,
    )


def row(value: float) -> Row:
    return {"value": value, "unit": "ms", "peer": None, "ratio": None}
