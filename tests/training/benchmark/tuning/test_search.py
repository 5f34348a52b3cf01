"""Families, settings and weights are found on validation; the test is looked at once."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from recsys.errors import InsufficientData
from recsys.ids import Numbers
from training.benchmark.measures import TOP_N
from training.benchmark.prepared import Prepared
from training.benchmark.protocols import top_n
from training.benchmark.spaces import Candidate, Space
from training.benchmark.task_data import BenchmarkTask, Weighings
from training.benchmark.tuning.blend import (
    Fitted,
    best_places,
    blended_lists,
    choose_weights,
    lists_of,
)
from training.benchmark.tuning.search import Budget, fit, measure
from training.progress import Steps

SPACES = [
    Space("popularity", "popularity", {"half_life_days": None}),
    Space("RP3beta", "random_walk", {"binary": True}, {"beta": (0.0, 0.4), "alpha": (0.7,)}),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two tastes: even users want even items, odd ones odd items."""
    folder, rng = tmp_path_factory.mktemp("tastes"), np.random.default_rng(4)
    train, test = [], []
    for user in range(120):
        own = 2 * rng.permutation(40)[:20] + user % 2
        train.append(f"u{user} " + " ".join(f"i{item}" for item in own[:15]))
        test.append(f"u{user} " + " ".join(f"i{item}" for item in own[15:]))
    (folder / "train.txt").write_text("\n".join(train))
    (folder / "test.txt").write_text("\n".join(test))
    return top_n.prepare(folder / "train.txt", folder / "test.txt", rng=rng)


def _measured(prepared: Prepared, *, seconds: float = 60.0, **changes: BenchmarkTask):  # type: ignore[no-untyped-def]
    ticks = iter(range(10_000))
    changed = replace(prepared, **changes)
    return measure(
        changed.validation,
        changed.test,
        SPACES,
        changed.rules,
        budget=Budget(seconds, lambda: float(next(ticks)), 0.0),
        seed=1,
        steps=Steps(Console(file=io.StringIO())),
    )


def test_what_knows_tastes_beats_popularity_and_is_what_validation_chooses(
    prepared: Prepared,
) -> None:
    found = _measured(prepared)
    walk, popular = (
        found.models[name].metrics["recall_at_20"] for name in ("RP3beta", "popularity")
    )
    assert walk > 1.3 * popular
    assert max(found.blend, key=lambda name: found.blend[name]) == "RP3beta"
    assert found.chosen["recall_at_20"] > 0.95 * walk
    assert sum(found.blend.values()) == pytest.approx(1.0, abs=1e-3)


def test_nothing_that_is_chosen_depends_on_the_test(prepared: Prepared) -> None:
    shuffled = replace(prepared.test, truth=prepared.test.truth[::-1])
    first, second = _measured(prepared), _measured(prepared, test=shuffled)
    assert first.blend == second.blend
    assert {n: row.settings for n, row in first.models.items()} == {
        n: row.settings for n, row in second.models.items()
    }
    assert first.chosen != second.chosen


def test_a_spent_budget_still_begins_every_family(prepared: Prepared) -> None:
    hurried = _measured(prepared, seconds=0.0)
    assert set(hurried.models) == {"popularity", "RP3beta"}
    assert hurried.models["RP3beta"].settings == SPACES[1].start


def test_settings_are_kept_only_where_validation_gains(prepared: Prepared) -> None:
    patient, hurried = _measured(prepared), _measured(prepared, seconds=0.0)
    assert patient.models["RP3beta"].validation >= hurried.models["RP3beta"].validation


def test_an_exam_without_questions_is_refused(prepared: Prepared) -> None:
    nobody = prepared.test.part(np.array([], np.int64))
    with pytest.raises(InsufficientData, match="test part has no question"):
        _measured(prepared, test=nobody)


def test_hidden_items_never_stand_in_a_list(prepared: Prepared) -> None:
    fitted = _fitted(prepared)
    for found in (
        lists_of(fitted["RP3beta"], prepared.test, 20),
        _blend(fitted, {"RP3beta": 0.5, "popularity": 0.5}, prepared.test),
    ):
        for numbers, hidden in zip(found, prepared.test.hidden, strict=True):
            assert len(numbers) == 20
            assert not np.isin(numbers, hidden).any()


def test_a_blend_of_one_model_is_that_model(prepared: Prepared) -> None:
    fitted = _fitted(prepared)
    alone = lists_of(fitted["RP3beta"], prepared.test, 10)
    blend = _blend(fitted, {"RP3beta": 1.0, "popularity": 0.0}, prepared.test)
    for first, second in zip(alone, blend, strict=True):
        assert first.tolist() == second[:10].tolist()


def test_a_model_that_adds_only_noise_gets_no_weight(prepared: Prepared) -> None:
    fitted = _fitted(prepared)
    weights = choose_weights(
        fitted, {"RP3beta": 1.0, "popularity": 0.1}, prepared.validation, TOP_N
    )
    assert weights["RP3beta"] > 0.6


def test_chosen_weights_are_no_worse_on_validation_than_either_start(prepared: Prepared) -> None:
    fitted, exam = _fitted(prepared), prepared.validation
    chosen = choose_weights(fitted, {"RP3beta": 1.0, "popularity": 0.1}, exam, TOP_N)

    def value(weights: dict[str, float]) -> float:
        return TOP_N.value(_blend(fitted, weights, exam), exam.truth)

    starts = {"RP3beta": 1.0}, {"RP3beta": 0.5, "popularity": 0.5}
    assert value(chosen) > 0.999 * max(map(value, starts))


def test_the_best_places_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(0, 30, size=50)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    scores = rng.integers(0, 6, size=starts[-1]).astype(np.float32)
    places, counts = best_places(scores, starts, 10)
    for row, (first, last) in enumerate(itertools.pairwise(starts.tolist())):
        expected = first + np.argsort(-scores[first:last], kind="stable")[:10]
        assert places[row, : counts[row]].tolist() == expected.tolist()


def _fitted(prepared: Prepared) -> dict[str, Fitted]:
    weighings = Weighings(prepared.test.data)
    return {
        space.name: fit(Candidate(space.family, space.start), weighings, seed=1) for space in SPACES
    }


def _blend(
    fitted: dict[str, Fitted], weights: dict[str, float], exam: BenchmarkTask
) -> list[Numbers]:
    found = dict(blended_lists(fitted, weights, exam, 20))
    return [found[row] for row in range(len(exam))]
