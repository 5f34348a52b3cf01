"""The ranker over a blend: kept only where queries that it was not fitted on say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.benchmark.candidates import Candidate
from training.benchmark.metrics import LEAVE_ONE_OUT
from training.benchmark.protocols import leave_one_out
from training.benchmark.task_data import BenchmarkTask, PreparedSet, WeightedData
from training.benchmark.tuning.blend import FittedModel, lists_of
from training.benchmark.tuning.search import fit
from training.benchmark.tuning.second_stage import ranked_lists, second_stage

WEIGHTS = {"popularity": 0.5, "item_item": 0.5}


def _prepared(folder: Path, *, again: bool) -> PreparedSet:
    """400 users; with `again` each comes back to the item of three steps before, else to none."""
    rng, lines = np.random.default_rng(6), []
    for user in range(400):
        items = rng.permutation(60)[:12].tolist()
        if again:
            items[-2], items[-1] = items[-5], items[-4]
        lines.append(" ".join(map(str, [f"u{user}", *items])))
    (folder / "s.txt").write_text("\n".join(lines))
    return leave_one_out.prepare(folder / "s.txt", None)


def _fitted(task: BenchmarkTask) -> dict[str, FittedModel]:
    weighings = WeightedData(task.data)
    return {name: fit(Candidate(name, {}), weighings, seed=1) for name in WEIGHTS}


@pytest.fixture(scope="module")
def returning(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """A set in which only features of person and item tell what comes next."""
    return _prepared(tmp_path_factory.mktemp("returning"), again=True)


def test_a_ranker_that_sees_what_the_models_do_not_wins(returning: PreparedSet) -> None:
    task = returning.validation
    stage = second_stage(_fitted(task), WEIGHTS, task, LEAVE_ONE_OUT, seed=3)
    assert stage.ranker is not None
    assert stage.gain > 2 * stage.standard_error


def test_a_ranker_that_won_on_validation_wins_on_the_test(returning: PreparedSet) -> None:
    stage = second_stage(
        _fitted(returning.validation), WEIGHTS, returning.validation, LEAVE_ONE_OUT, seed=3
    )
    assert stage.ranker is not None
    test, fitted = returning.test, _fitted(returning.test)
    lists = dict(ranked_lists(stage.ranker, fitted, WEIGHTS, test, LEAVE_ONE_OUT.n))
    ours = LEAVE_ONE_OUT.value([lists[row] for row in range(len(test))], test.truth)
    alone = LEAVE_ONE_OUT.value(lists_of(fitted["item_item"], test, 20), test.truth)
    assert ours > 2 * alone


def test_where_nothing_can_be_learnt_the_blend_stays(tmp_path: Path) -> None:
    task = _prepared(tmp_path, again=False).validation
    assert second_stage(_fitted(task), WEIGHTS, task, LEAVE_ONE_OUT, seed=3).ranker is None


def test_the_same_seed_gives_the_same_order(returning: PreparedSet) -> None:
    task, orders = returning.validation, []
    for _ in range(2):
        fitted = _fitted(task)
        stage = second_stage(fitted, WEIGHTS, task, LEAVE_ONE_OUT, seed=3)
        assert stage.ranker is not None
        lists = dict(ranked_lists(stage.ranker, fitted, WEIGHTS, task, LEAVE_ONE_OUT.n))
        orders.append([lists[row].tolist() for row in range(len(task))])
    assert orders[0] == orders[1]
