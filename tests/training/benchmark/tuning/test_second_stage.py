"""The ranker over a blend: kept only where questions that it was not taught on say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.benchmark.measures import LEAVE_ONE_OUT
from training.benchmark.prepared import Prepared
from training.benchmark.protocols import leave_one_out
from training.benchmark.spaces import Candidate
from training.benchmark.task_data import BenchmarkTask, Weighings
from training.benchmark.tuning.blend import Fitted, lists_of
from training.benchmark.tuning.search import fit
from training.benchmark.tuning.second_stage import ranked_lists, second_stage

WEIGHTS = {"popularity": 0.5, "item_item": 0.5}


def _prepared(folder: Path, *, again: bool) -> Prepared:
    """400 users; with `again` each comes back to the item of three steps before, else to none."""
    rng, lines = np.random.default_rng(6), []
    for user in range(400):
        items = rng.permutation(60)[:12].tolist()
        if again:
            items[-2], items[-1] = items[-5], items[-4]
        lines.append(" ".join(map(str, [f"u{user}", *items])))
    (folder / "s.txt").write_text("\n".join(lines))
    return leave_one_out.prepare(folder / "s.txt", None)


def _fitted(exam: BenchmarkTask) -> dict[str, Fitted]:
    weighings = Weighings(exam.data)
    return {name: fit(Candidate(name, {}), weighings, seed=1) for name in WEIGHTS}


@pytest.fixture(scope="module")
def returning(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A set in which only features of person and item tell what comes next."""
    return _prepared(tmp_path_factory.mktemp("returning"), again=True)


def test_a_ranker_that_sees_what_the_models_do_not_wins(returning: Prepared) -> None:
    exam = returning.validation
    found = second_stage(_fitted(exam), WEIGHTS, exam, LEAVE_ONE_OUT, seed=3)
    assert found.ranker is not None
    assert found.gain > 2 * found.standard_error


def test_a_ranker_that_won_on_validation_wins_on_the_test(returning: Prepared) -> None:
    taught = second_stage(
        _fitted(returning.validation), WEIGHTS, returning.validation, LEAVE_ONE_OUT, seed=3
    )
    assert taught.ranker is not None
    test, fitted = returning.test, _fitted(returning.test)
    lists = dict(ranked_lists(taught.ranker, fitted, WEIGHTS, test, LEAVE_ONE_OUT))
    ours = LEAVE_ONE_OUT.value([lists[row] for row in range(len(test))], test.truth)
    alone = LEAVE_ONE_OUT.value(lists_of(fitted["item_item"], test, 20), test.truth)
    assert ours > 2 * alone


def test_where_nothing_can_be_learnt_the_blend_stays(tmp_path: Path) -> None:
    exam = _prepared(tmp_path, again=False).validation
    assert second_stage(_fitted(exam), WEIGHTS, exam, LEAVE_ONE_OUT, seed=3).ranker is None


def test_the_same_seed_teaches_the_same_order(returning: Prepared) -> None:
    exam, orders = returning.validation, []
    for _ in range(2):
        fitted = _fitted(exam)
        taught = second_stage(fitted, WEIGHTS, exam, LEAVE_ONE_OUT, seed=3)
        assert taught.ranker is not None
        found = dict(ranked_lists(taught.ranker, fitted, WEIGHTS, exam, LEAVE_ONE_OUT))
        orders.append([found[row].tolist() for row in range(len(exam))])
    assert orders[0] == orders[1]
