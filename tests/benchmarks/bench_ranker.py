"""The ranker for one query, from scores to order, compared with LightGBM's prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import lightgbm
import numpy as np

from recsys.events.schema import PURCHASE
from recsys.query.history import History
from recsys.query.query import Query
from recsys.ranking.features import ItemFacts
from recsys.ranking.ranker import Ranker, column_names, ranking_matrix

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
ITEMS, CANDIDATES, HISTORY = 100_000, 150, 200
MODELS = tuple(f"model {number}" for number in range(15))
LOSSES = ("lambdarank", "rank_xendcg")


def rows() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(1)
    boosters = [grown(loss, rng) for loss in LOSSES]
    texts = [booster.model_to_string() for booster in boosters]
    facts = made_facts(rng)
    ranker = Ranker.of(texts, [1.0, 1.0], models=MODELS, candidates=CANDIDATES, facts=facts)
    now = AS_OF.timestamp()
    history = History(
        rng.integers(0, ITEMS, HISTORY).astype(np.int32),
        np.full(HISTORY, PURCHASE, np.int8),
        np.sort(now - rng.uniform(0, 1e7, HISTORY)),
        np.ones(HISTORY, np.float32),
    )
    query_parts = (
        [Query(now=AS_OF, history=history)],
        [np.sort(rng.choice(ITEMS, CANDIDATES, replace=False)).astype(np.int32)],
        [rng.random((len(MODELS), CANDIDATES), np.float32)],
        [rng.random(CANDIDATES, np.float32)],
    )
    matrix = ranking_matrix(facts, *query_parts)
    middle, slow = spent(lambda: ranker.scores(*query_parts))
    features, _ = spent(lambda: ranking_matrix(facts, *query_parts))
    trees, _ = spent(lambda: ranker.trees.predict(matrix))
    peer, _ = spent(lambda: [booster.predict(matrix, num_threads=1) for booster in boosters])
    return {
        "ranker/150_candidates_p50_ms": row(middle),
        "ranker/150_candidates_p99_ms": row(slow),
        "ranker/features_p50_ms": row(features),
        "ranker/trees_p50_ms": {
            **row(trees), "peer": "LightGBM, 1 thread", "ratio": trees / peer
        },
    }  # fmt: skip


def grown(loss: str, rng: np.random.Generator) -> lightgbm.Booster:
    """100 trees of 31 leaves: the ranker's defaults."""
    names = [name.replace(" ", "_") for name in column_names(MODELS)]
    matrix = rng.normal(size=(50_000, len(names))).astype(np.float32)
    taken = (matrix[:, :5].sum(axis=1) + rng.normal(size=len(matrix)) > 2).astype(int)
    table = lightgbm.Dataset(matrix, label=taken, group=[100] * 500, feature_name=names)
    settings = {"objective": loss, "num_leaves": 31, "num_threads": 1, "verbose": -1}
    return lightgbm.train(settings, table, num_boost_round=100)


def made_facts(rng: np.random.Generator) -> ItemFacts:
    def uniform(high: float) -> Any:
        return rng.uniform(0.1, high, ITEMS).astype(np.float32)

    return ItemFacts(
        prices=uniform(50.0),
        categories=rng.integers(0, 500, ITEMS).astype(np.int32),
        brands=rng.integers(0, 300, ITEMS).astype(np.int32),
        demand_7=uniform(10.0),
        demand_30=uniform(40.0),
        demand=uniform(400.0),
        first_seen=rng.uniform(0.9, 1.0, ITEMS) * AS_OF.timestamp(),
        rebuy_rates=uniform(0.5),
        intervals=uniform(60.0),
    )


def spent(work: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds: the median and the slowest hundredth of 500."""
    for _ in range(20):
        work()
    times = []
    for _ in range(500):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times)), float(np.quantile(times, 0.99))


def row(value: float) -> dict[str, Any]:
    return {"value": value, "unit": "ms", "peer": None, "ratio": None}
