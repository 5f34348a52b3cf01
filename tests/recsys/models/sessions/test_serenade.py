"""The published example of Serenade, read through the event log: next click in growing visits."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import SCHEMA, EventLog
from recsys.events.weighting import Weighting
from recsys.ids import Numbers
from recsys.models.sessions.session_knn import SessionKnnConfig, fit_session_knn
from recsys.query.history import History
from recsys.query.query import Query

LOOKS = Weighting(kind_weights={"view_item": 1.0}, half_life_days=1e6)
# Two clicks looked at, no decay but by position, no order inside a past visit.
VMIS = {
    "last_items": 2, "neighbours": 50, "recent": 500, "position_decay": "linear",
    "position_rate": 1.0, "reach": 1e9, "half_life_days": 1e9, "sharpness": 1.0,
    "matching_rarity": 0.0, "match_decay": 0.105, "revisit": 1.0,
}  # fmt: skip


def clicks_of(path: Path) -> NDArray[np.float64]:
    """(session, item, time) by session and time."""
    with gzip.open(path, "rt") as file:
        clicks = np.loadtxt(file, skiprows=1)
    return clicks[np.lexsort((clicks[:, 2], clicks[:, 0]))]


@pytest.fixture(scope="module")
def training(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    clicks = clicks_of(shared_data / "serenade" / "train.txt.gz")
    n = len(clicks)
    sessions = [f"s{int(session)}" for session in clicks[:, 0]]
    scores_of_item = {
        "event_id": [f"e{number}" for number in range(n)],
        "position": [0] * n,
        "kind": ["view_item"] * n,
        "timestamp": [datetime.fromtimestamp(time, UTC) for time in clicks[:, 2].tolist()],
        "anonymous_id": sessions,
        "session_id": sessions,
        "item_id": [f"{int(item):06}" for item in clicks[:, 1]],
    }
    log = EventLog(tmp_path_factory.mktemp("log"))
    log.append(
        pa.table(
            [pa.array(scores_of_item.get(f.name, [None] * n), f.type) for f in SCHEMA],
            schema=SCHEMA,
        ),
        part="all",
    )
    last = datetime.fromtimestamp(float(clicks[:, 2].max()), UTC)
    return read_training_data(log, as_of=last + timedelta(seconds=1), weighting=LOOKS)


def measured(training: TrainingData, path: Path, **settings: Any) -> tuple[float, float]:
    """MRR@20 and hit rate@20 of the next click; the newest click is never in the list."""
    clicks = clicks_of(path)
    items = training.items.numbers([f"{int(item):06}" for item in clicks[:, 1]])
    queries, truth = [], []
    for click in range(1, len(clicks)):
        if clicks[click, 0] != clicks[click - 1, 0]:
            continue
        first = int(np.searchsorted(clicks[:, 0], clicks[click, 0]))
        visit = slice(first, click)
        queries.append(query_at(items[visit], clicks[visit, 2], training))
        truth.append(items[click])
    model = fit_session_knn(
        training, SessionKnnConfig.model_validate(settings), rng=np.random.default_rng(0)
    )
    results = model.condition(queries).retrieve(20, np.ones(len(training.items), np.bool_))
    ranks = [np.flatnonzero(of.numbers == item) for of, item in zip(results, truth, strict=True)]
    hits = [1.0 / (rank[0] + 1) if len(rank) else 0.0 for rank in ranks]
    return float(np.mean(hits)), float(np.mean(np.array(hits) > 0))


def query_at(items: Numbers, times: NDArray[np.float64], training: TrainingData) -> Query:
    kinds = np.full(len(items), training.timeline.kinds[0], np.int8)
    session = History(items, kinds, times, np.ones(len(items), np.float32))
    return Query(now=datetime.fromtimestamp(float(times[-1]), UTC), session=session)


def test_settings_of_vmis_knn_give_its_published_figures(
    training: TrainingData, shared_data: Path
) -> None:
    mrr, hit_rate = measured(training, shared_data / "serenade" / "test.txt.gz", **VMIS)
    assert mrr == pytest.approx(0.3277, abs=0.004)
    assert hit_rate == pytest.approx(0.6402, abs=0.006)


def test_the_defaults_are_well_above_it(training: TrainingData, shared_data: Path) -> None:
    mrr, hit_rate = measured(training, shared_data / "serenade" / "test.txt.gz")
    assert mrr >= 0.38
    assert hit_rate >= 0.67
