"""The answer log: off the request path, bounded, flushed at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite import SQLiteStore
from serving.metrics import Metrics
from serving.use_cases.impression_log import ImpressionLog

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def answer(number: int) -> LoggedAnswer:
    return LoggedAnswer(
        recommendation_id=f"r-{number}",
        time=NOW.timestamp() + number,
        placement="for_you",
        variant="champion",
        model_version="v1",
        item_ids=["a"],
        sources=["popularity"],
        levels=["everybody"],
        scores=[1.0],
        propensities=[1.0],
    )


def logged(store: SQLiteStore) -> list[str]:
    answers = store.answers(since=NOW, until=NOW + timedelta(days=1))
    return [answer.recommendation_id for answer in answers]


def dropped(metrics: Metrics) -> float:
    return float(metrics.answers_not_logged._value.get())


def test_closing_writes_everything_that_is_waiting(store: SQLiteStore) -> None:
    log = ImpressionLog(store, metrics=Metrics(), capacity=1000)
    for number in range(500):
        log.add([answer(number)])
    log.close()
    assert logged(store) == [f"r-{number}" for number in range(500)]


def test_a_full_queue_drops_what_does_not_fit_and_counts_it(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.sqlite")
    metrics = Metrics()
    log = ImpressionLog(store, metrics=metrics, capacity=3)
    log.add([answer(number) for number in range(5)])
    log.close()
    assert logged(store) == ["r-0", "r-1", "r-2"]
    assert dropped(metrics) == 2
    store.close()


def test_a_store_that_stays_locked_costs_the_answers_and_nothing_else(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.sqlite", busy_timeout=0.01)
    other = apsw.Connection(str(tmp_path / "store.sqlite"))
    other.execute("BEGIN IMMEDIATE")
    metrics = Metrics()
    log = ImpressionLog(store, metrics=metrics, capacity=10)
    log.add([answer(0), answer(1)])
    log.close()
    other.execute("ROLLBACK")
    other.close()
    assert dropped(metrics) == 2
    assert logged(store) == []
    store.close()
