"""How much each chosen model weighs in a task's lists: coordinate ascent on validation questions.

The candidates and scales are those of serving (`candidates.gather`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.evaluation.metrics import PerQuery
from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Model
from recsys.models.scoring.top_n import top_n_of
from recsys.recommend.candidates import Candidates, gather
from training.benchmark.measures import Rules
from training.benchmark.task_data import BenchmarkTask

CANDIDATES: Final = 150
"""How many items each model puts forward."""
QUESTIONS_AT_ONCE: Final = 256
SWEEPS: Final = 6
STEPS: Final = (1.0, 0.5, 0.2)
LEAST_GAIN: Final = 1e-4
LEAST_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model and the data under whose weighing it was fitted and is asked."""

    model: Model
    data: TrainingData


def lists_of(fitted: Fitted, exam: BenchmarkTask, n: int) -> list[Numbers]:
    """One model's lists, best first, without what is hidden."""
    found = [NONE] * len(exam)
    eligible = _everything(exam)
    for rows in batches(exam):
        part = exam.part(rows)
        n_fetch = n + max(map(len, part.hidden))
        scorer = fitted.model.condition(part.questions.queries(fitted.data.weighting))
        for row, hidden, best in zip(
            rows.tolist(), part.hidden, scorer.retrieve(n_fetch, eligible), strict=True
        ):
            found[row] = top_n_of(best.numbers, best.scores, n, exclude=hidden).numbers
    return found


def blended_lists(
    fitted: Mapping[str, Fitted], weights: Mapping[str, float], exam: BenchmarkTask, n: int
) -> Iterator[tuple[int, Numbers]]:
    """Question number and list of the weighted sum, batch by batch."""
    names = [name for name, weight in weights.items() if weight > 0]
    vector = np.array([weights[name] for name in names], np.float32)
    for rows in batches(exam):
        part = exam.part(rows)
        for row, found in zip(rows.tolist(), gathered(fitted, names, part), strict=True):
            yield row, top_n_of(found.numbers, vector @ found.parts, n).numbers


def batches(exam: BenchmarkTask) -> Iterator[NDArray[np.intp]]:
    """Rows in batches of alike numbers of hidden items, so that few lists are fetched long."""
    order = np.argsort([len(hidden) for hidden in exam.hidden], kind="stable")
    for first in range(0, len(order), QUESTIONS_AT_ONCE):
        yield order[first : first + QUESTIONS_AT_ONCE]


def choose_weights(
    fitted: Mapping[str, Fitted], values: Mapping[str, float], exam: BenchmarkTask, rules: Rules
) -> dict[str, float]:
    """Weights that sum to 1: the better of two climbs, one from the best single model of `values`
    (name → objective), one from equal weights.

    A weight moves up or down by a share of itself as long as the objective grows by more than
    LEAST_GAIN of its value; a model below LEAST_SHARE gets 0. The blend must beat that single
    model by more than the standard error of their paired difference, or the model stays alone:
    weights that fit few questions are noise.
    """
    names = list(fitted)
    table = _Table.of(fitted, names, exam, rules)
    single = np.zeros(len(names))
    single[int(np.argmax([values[name] for name in names]))] = 1.0
    climbs = [_climbed(table, start) for start in (single, np.full(len(names), 1 / len(names)))]
    weights = max(climbs, key=lambda climbed: table.value(table.sums(climbed)))
    if not _surely_better(table.values(table.sums(weights)), table.values(table.sums(single))):
        weights = single
    weights /= weights.sum()
    weights[weights < LEAST_SHARE] = 0.0
    weights /= weights.sum()
    return {
        name: round(weight, 4)
        for name, weight in zip(names, weights.tolist(), strict=True)
        if weight > 0
    }


@dataclass(frozen=True, slots=True)
class _Table:
    """The candidates of all questions, row after row: parts is models × candidates."""

    parts: NDArray[np.float32]
    items: Numbers
    starts: NDArray[np.int64]
    truth: Sequence[Numbers]
    rules: Rules

    @classmethod
    def of(
        cls, fitted: Mapping[str, Fitted], names: Sequence[str], exam: BenchmarkTask, rules: Rules
    ) -> _Table:
        found: list[Candidates] = []
        truth: list[Numbers] = []
        for rows in batches(exam):
            part = exam.part(rows)
            found += gathered(fitted, names, part)
            truth += part.truth
        starts = np.concatenate([[0], np.cumsum([len(one.numbers) for one in found])])
        return cls(
            np.concatenate([one.parts for one in found], axis=1),
            np.concatenate([one.numbers for one in found]),
            starts.astype(np.int64),
            truth,
            rules,
        )

    def sums(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """Every candidate's weighted sum."""
        return np.asarray(weights.astype(np.float32) @ self.parts)

    def value(self, sums: NDArray[np.float32]) -> float:
        """The objective of these sums."""
        return float(np.nanmean(self.values(sums)))

    def values(self, sums: NDArray[np.float32]) -> PerQuery:
        """The objective of each question under these sums."""
        places, counts = best_places(sums, self.starts, self.rules.objective_k)
        found = self.items[places]
        lists = [row[:count] for row, count in zip(found, counts.tolist(), strict=True)]
        return self.rules.values(lists, self.truth)


def _climbed(table: _Table, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinate ascent, by smaller and smaller steps."""
    weights, sums = start.copy(), table.sums(start)
    best = table.value(sums)
    for step in STEPS:
        for _ in range(SWEEPS):
            before = best
            for index in range(len(start)):
                for direction in (step, -step):
                    weight = max(0.0, weights[index] + direction * max(0.1, weights[index]))
                    moved = weight - weights[index]
                    if not moved or weights.sum() + moved < LEAST_SHARE:
                        continue
                    tried = sums + np.float32(moved) * table.parts[index]
                    value = table.value(tried)
                    if value > best * (1.0 + LEAST_GAIN):
                        weights[index], sums, best = weight, tried, value
                        break
            if best <= before:
                break
    return weights


@njit(cache=True, nogil=True)
def best_places(
    scores: NDArray[np.float32], starts: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per span of `starts` the places of its k highest scores, best first, and how many there are.

    Ties go to the earlier place; places beyond the count are 0.
    """
    n_rows = len(starts) - 1
    places = np.zeros((n_rows, k), np.int64)
    counts = np.zeros(n_rows, np.int64)
    best = np.empty(k, np.float32)
    for row in range(n_rows):
        count = 0
        for place in range(starts[row], starts[row + 1]):
            score = scores[place]
            if count == k and score <= best[k - 1]:
                continue
            if count < k:
                count += 1
            at = count - 1
            while at > 0 and best[at - 1] < score:
                best[at] = best[at - 1]
                places[row, at] = places[row, at - 1]
                at -= 1
            best[at] = score
            places[row, at] = place
        counts[row] = count
    return places, counts


def _surely_better(ours: PerQuery, theirs: PerQuery) -> bool:
    gains = (ours - theirs)[~np.isnan(ours)]
    return bool(gains.mean() > gains.std() / np.sqrt(max(len(gains), 1)))


def gathered(
    fitted: Mapping[str, Fitted], names: Sequence[str], part: BenchmarkTask
) -> list[Candidates]:
    """The union of what the named models put forward, scored by all of them."""
    # Queries differ between models only in how their histories are weighed.
    asked = {name: part.questions.queries(fitted[name].data.weighting) for name in names}
    scorers = {name: fitted[name].model.condition(asked[name]) for name in names}
    return gather(scorers, CANDIDATES, _everything(part), part.hidden)


def _everything(exam: BenchmarkTask) -> Mask:
    return np.ones(len(exam.data.items), np.bool_)
