"""Families, settings and weights are chosen on validation; the test is scored once."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from recsys.errors import InsufficientData
from recsys.ids import Numbers
from training.benchmark.candidates import FamilySearch
from training.benchmark.metrics import TOP_N
from training.benchmark.protocols import top_n
from training.benchmark.task_data import BenchmarkTask, PreparedSet, WeightedData
from training.benchmark.tuning.blend import (
    FittedModel,
    best_positions,
    blended_lists,
    choose_weights,
    lists_of,
)
from training.benchmark.tuning.search import Budget, coordinate_trials, fit, tune
from training.progress import Steps

SEARCHES = [
    FamilySearch("popularity", "popularity", {"half_life_days": None}),
    FamilySearch("RP3beta", "random_walk", {"binary": True}, ("beta", "alpha")),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Two tastes: even users want even items, odd ones odd items."""
    folder, rng = tmp_path_factory.mktemp("tastes"), np.random.default_rng(4)
    train, test = [], []
    for user in range(120):
        liked = 2 * rng.permutation(40)[:20] + user % 2
        train.append(f"u{user} " + " ".join(f"i{item}" for item in liked[:15]))
        test.append(f"u{user} " + " ".join(f"i{item}" for item in liked[15:]))
    (folder / "train.txt").write_text("\n".join(train))
    (folder / "test.txt").write_text("\n".join(test))
    return top_n.prepare(folder / "train.txt", folder / "test.txt", rng=rng)


def _measured(prepared: PreparedSet, *, seconds: float = 60.0, **changes: BenchmarkTask):  # type: ignore[no-untyped-def]
    ticks = iter(range(10_000))
    changed = replace(prepared, **changes)
    return tune(
        changed,
        SEARCHES,
        budget=Budget(seconds, lambda: float(next(ticks)), 0.0),
        seed=1,
        steps=Steps(Console(file=io.StringIO())),
    )


def test_what_knows_tastes_beats_popularity_and_is_what_validation_chooses(
    prepared: PreparedSet,
) -> None:
    result = _measured(prepared)
    walk, popular = (
        result.models[name].metrics["recall_at_20"] for name in ("RP3beta", "popularity")
    )
    assert walk > 1.3 * popular
    assert max(result.blend, key=lambda name: result.blend[name]) == "RP3beta"
    assert result.chosen["recall_at_20"] > 0.95 * walk
    assert sum(result.blend.values()) == pytest.approx(1.0, abs=1e-3)


def test_nothing_that_is_chosen_depends_on_the_test(prepared: PreparedSet) -> None:
    shuffled = replace(prepared.test, truth=prepared.test.truth[::-1])
    first, second = _measured(prepared), _measured(prepared, test=shuffled)
    assert first.blend == second.blend
    assert {n: row.settings for n, row in first.models.items()} == {
        n: row.settings for n, row in second.models.items()
    }
    assert first.chosen != second.chosen


def test_a_spent_budget_still_starts_every_family(prepared: PreparedSet) -> None:
    hurried = _measured(prepared, seconds=0.0)
    assert set(hurried.models) == {"popularity", "RP3beta"}
    assert hurried.models["RP3beta"].settings == SEARCHES[1].start


def test_settings_are_kept_only_where_validation_gains(prepared: PreparedSet) -> None:
    patient, hurried = _measured(prepared), _measured(prepared, seconds=0.0)
    assert patient.models["RP3beta"].validation >= hurried.models["RP3beta"].validation


def test_a_task_without_queries_is_refused(prepared: PreparedSet) -> None:
    nobody = prepared.test.subset(np.array([], np.int64))
    with pytest.raises(InsufficientData, match="test part has no query"):
        _measured(prepared, test=nobody)


def test_excluded_items_are_never_in_a_list(prepared: PreparedSet) -> None:
    fitted = _fitted(prepared)
    for lists in (
        lists_of(fitted["RP3beta"], prepared.test, 20),
        _blend(fitted, {"RP3beta": 0.5, "popularity": 0.5}, prepared.test),
    ):
        for numbers, excluded in zip(lists, prepared.test.excluded, strict=True):
            assert len(numbers) == 20
            assert not np.isin(numbers, excluded).any()


def test_a_blend_of_one_model_is_that_model(prepared: PreparedSet) -> None:
    fitted = _fitted(prepared)
    alone = lists_of(fitted["RP3beta"], prepared.test, 10)
    blend = _blend(fitted, {"RP3beta": 1.0, "popularity": 0.0}, prepared.test)
    for first, second in zip(alone, blend, strict=True):
        assert first.tolist() == second[:10].tolist()


def test_a_model_that_adds_only_noise_gets_no_weight(prepared: PreparedSet) -> None:
    fitted = _fitted(prepared)
    weights = choose_weights(fitted, "RP3beta", prepared.validation, TOP_N)
    assert weights["RP3beta"] > 0.6


def test_chosen_weights_are_no_worse_on_validation_than_either_start(prepared: PreparedSet) -> None:
    fitted, task = _fitted(prepared), prepared.validation
    chosen = choose_weights(fitted, "RP3beta", task, TOP_N)

    def value(weights: dict[str, float]) -> float:
        return TOP_N.value(_blend(fitted, weights, task), task.truth)

    starts = {"RP3beta": 1.0}, {"RP3beta": 0.5, "popularity": 0.5}
    assert value(chosen) > 0.999 * max(map(value, starts))


def test_a_setting_is_walked_on_as_long_as_it_is_better() -> None:
    trials = coordinate_trials(SEARCHES[1])
    tried, candidate = [], next(trials, None)
    while candidate is not None:
        beta, alpha = candidate.value("beta"), candidate.value("alpha")
        tried.append((beta, alpha))
        # Better are values of beta up to 0.4 and of alpha from 0.8 to 1.
        try:
            candidate = trials.send(beta <= 0.4 and 0.8 <= alpha <= 1.0)
        except StopIteration:
            candidate = None
    assert tried == [
        (0.1, 1.0),
        (0.3, 1.0),
        (0.45, 1.0),
        (0.3, 1.13),
        (0.3, 0.867),
        (0.3, 0.733),
    ]


def test_the_best_positions_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(0, 30, size=50)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    scores = rng.integers(0, 6, size=starts[-1]).astype(np.float32)
    positions, counts = best_positions(scores, starts, 10)
    for row, (first, last) in enumerate(itertools.pairwise(starts.tolist())):
        expected = first + np.argsort(-scores[first:last], kind="stable")[:10]
        assert positions[row, : counts[row]].tolist() == expected.tolist()


def _fitted(prepared: PreparedSet) -> dict[str, FittedModel]:
    weighings = WeightedData(prepared.test.data)
    return {search.name: fit(search.first(), weighings, seed=1) for search in SEARCHES}


def _blend(
    fitted: dict[str, FittedModel], weights: dict[str, float], task: BenchmarkTask
) -> list[Numbers]:
    lists = dict(blended_lists(fitted, weights, task, 20))
    return [lists[row] for row in range(len(task))]
