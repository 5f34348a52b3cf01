"""The baselines, counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.evaluation.baselines import buyers, personal_frequency, popularity, popularity_30_days
from recsys.events.log import EventLog, rows
from recsys.events.schema import parse_event
from recsys.events.weighting import Weighting
from recsys.ids import NONE

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Three customers; a is bought by all long ago, b twice by 1, c by 2 and 3 last week."""
    bought = [
        ("1", "2026-01-01", "a"),
        ("2", "2026-01-01", "a"),
        ("3", "2026-01-01", "a"),
        ("1", "2026-02-01", "b"),
        ("1", "2026-03-01", "b"),
        ("2", "2026-05-25", "c"),
        ("3", "2026-05-25", "c"),
        ("3", "2026-05-26", "d"),
    ]
    log = EventLog(tmp_path)
    events = [
        parse_event(
            {
                "event_id": str(number),
                "event": "purchase",
                "timestamp": f"{day}T00:00:00Z",
                "user_id": user,
                "items": [{"item_id": item}],
            }
        )
        for number, (user, day, item) in enumerate(bought)
    ]
    log.append(rows(events), part="p")
    return read_training_data(log, as_of=AS_OF, weighting=Weighting())


def named(data: TrainingData, lists: list[np.ndarray]) -> list[list[str]]:
    return [data.items.ids(numbers) for numbers in lists]


def test_popularity_counts_distinct_buyers(data: TrainingData) -> None:
    assert buyers(data).tolist() == [3, 1, 2, 1]
    everything = np.ones(4, np.bool_)
    lists = popularity(data, ["u:1"], 4, eligible=everything, excluded=[NONE])
    assert named(data, lists) == [["a", "c", "b", "d"]]


def test_popularity_of_30_days_forgets_the_rest(data: TrainingData) -> None:
    everything = np.ones(4, np.bool_)
    lists = popularity_30_days(data, ["u:1"], 2, eligible=everything, excluded=[NONE])
    assert named(data, lists) == [["c", "d"]]


def test_personal_frequency_counts_purchases_and_settles_ties_by_recent_popularity(
    data: TrainingData,
) -> None:
    everything = np.ones(4, np.bool_)
    lists = personal_frequency(
        data, ["u:1", "u:3", "u:9"], 4, eligible=everything, excluded=[NONE] * 3
    )
    assert named(data, lists) == [["b", "a", "c", "d"], ["c", "d", "a", "b"], ["c", "d", "a", "b"]]


def test_hidden_and_ineligible_items_are_left_out(data: TrainingData) -> None:
    eligible = np.array([True, True, True, False])
    lists = personal_frequency(
        data, ["u:1"], 4, eligible=eligible, excluded=[np.array([1], np.int32)]
    )
    assert named(data, lists) == [["a", "c"]]
