"""The figures that the service gives: kept a while, and those of a file where there is too much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from recsys.events.log import EventLog
from recsys.experiments.figures import ShopFigures
from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite import SQLiteStore
from serving.api.problems import ProblemError
from serving.use_cases.results import KEPT, Results

NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)


def answered(store: SQLiteStore, *, hours_ago: float) -> None:
    answer = LoggedAnswer(
        recommendation_id="r",
        time=(NOW - timedelta(hours=hours_ago)).timestamp(),
        placement="for_you",
        variant="champion",
        model_version="v1",
        item_ids=["tea"],
        sources=["als"],
        levels=["individual"],
        scores=[1.0],
        propensities=[1.0],
        person="u:ann",
    )
    store.log_answers([answer])


@pytest.fixture
def results(store: SQLiteStore, tmp_path: Path) -> Results:
    return Results(store, EventLog(tmp_path / "log"), written=tmp_path / "kpi.json", at_once=3)


def lists(figures: ShopFigures) -> int:
    return sum(row.lists for row in figures.placements)


def test_figures_are_kept_for_a_while_and_then_counted_anew(
    results: Results, store: SQLiteStore
) -> None:
    answered(store, hours_ago=2)
    first = results.kpi(None, now=NOW)
    answered(store, hours_ago=1)
    assert results.kpi(None, now=NOW + KEPT / 2) is first
    assert lists(results.kpi(None, now=NOW + KEPT)) == 2


def test_figures_of_a_clock_that_was_set_back_are_not_handed_out(
    results: Results, store: SQLiteStore
) -> None:
    results.kpi(None, now=NOW)
    assert results.kpi(None, now=NOW - timedelta(hours=1)).as_of == NOW - timedelta(hours=1)


def test_where_there_are_too_many_answers_the_written_figures_are_shown(
    results: Results, store: SQLiteStore, tmp_path: Path
) -> None:
    for hour in range(4):
        answered(store, hours_ago=hour + 1)
    with pytest.raises(ProblemError, match="recsys kpi"):
        results.kpi(None, now=NOW)
    written = ShopFigures(as_of=NOW, since=NOW, placements=[], days=[], experiment=None)
    (tmp_path / "kpi.json").write_bytes(msgspec.json.encode(written))
    assert results.kpi(None, now=NOW) == written
