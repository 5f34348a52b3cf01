"""The product's ranker over a task's blend: taught on validation questions, kept only if it wins.

Cross-fitting judges it: each half of the questions is ordered by a ranker that the other half
taught. What serves then is taught by both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics import PerQuery
from recsys.ids import NONE, Numbers
from recsys.models.scoring.top_n import top_n_of
from recsys.query.query import Query
from recsys.ranking.features import item_facts
from recsys.ranking.ranker import Ranker, column_names, ranking_matrix
from recsys.recommend.candidates import BlendedCandidates, best_of
from training.benchmark.measures import Rules
from training.benchmark.task_data import BenchmarkTask
from training.benchmark.tuning.blend import Fitted, batches, gathered
from training.config import RankerConfig
from training.fitting.fit_ranker import fit_ranker
from training.fitting.ranker_labels import LabelledTable

CONFIG: Final = RankerConfig(candidates=100, trees=80, leaves=15, least_rows=100)
STANDARD_ERRORS: Final = 2.0
"""By so many of them the gain must lie above zero."""


@dataclass(frozen=True, slots=True)
class SecondStage:
    """What cross-fitting said: the mean gain in the objective beside the blend and its standard
    error. `ranker` is None where the blend stays as it is."""

    ranker: Ranker | None
    gain: float
    standard_error: float


def second_stage(
    fitted: Mapping[str, Fitted],
    weights: Mapping[str, float],
    exam: BenchmarkTask,
    rules: Rules,
    *,
    seed: int,
) -> SecondStage:
    """The ranker over the models of the blend, if it beats their plain sum on these questions."""
    found = dict(candidates_of(fitted, weights, exam))
    queries = exam.questions.queries(exam.data.weighting)
    order = np.random.default_rng(seed).permutation(len(exam))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    lists: list[Numbers] = [NONE] * len(exam)
    for taught, judged in (halves, halves[::-1]):
        ranker = _taught(found, queries, weights, exam, taught, seed=seed)
        if ranker is None:
            return SecondStage(None, 0.0, 0.0)
        rows = judged.tolist()
        for row, numbers in zip(
            rows,
            _ordered(
                ranker, [queries[row] for row in rows], [found[row] for row in rows], weights, rules
            ),
            strict=True,
        ):
            lists[row] = numbers
    plain = [
        top_n_of(found[row].candidates.numbers, found[row].scores, rules.length).numbers
        for row in range(len(exam))
    ]
    gains: PerQuery = rules.values(lists, exam.truth) - rules.values(plain, exam.truth)
    gain = float(gains.mean())
    error = float(gains.std() / np.sqrt(len(gains)))
    if gain <= STANDARD_ERRORS * error:
        return SecondStage(None, gain, error)
    return SecondStage(_taught(found, queries, weights, exam, order, seed=seed), gain, error)


def ranked_lists(
    ranker: Ranker,
    fitted: Mapping[str, Fitted],
    weights: Mapping[str, float],
    exam: BenchmarkTask,
    rules: Rules,
) -> Iterator[tuple[int, Numbers]]:
    """Question number and list in the ranker's order, with what the exam's data say of items."""
    ranker = replace(ranker, facts=item_facts(exam.data))
    for rows in batches(exam):
        part = exam.part(rows)
        found = dict(candidates_of(fitted, weights, part))
        queries = part.questions.queries(part.data.weighting)
        ordered = _ordered(
            ranker, queries, [found[row] for row in range(len(part))], weights, rules
        )
        yield from zip(rows.tolist(), ordered, strict=True)


def candidates_of(
    fitted: Mapping[str, Fitted], weights: Mapping[str, float], exam: BenchmarkTask
) -> Iterator[tuple[int, BlendedCandidates]]:
    """Question number and the blend's best candidates."""
    vector = np.array(list(weights.values()), np.float32)
    for rows in batches(exam):
        for row, found in zip(
            rows.tolist(), gathered(fitted, list(weights), exam.part(rows)), strict=True
        ):
            yield row, best_of(BlendedCandidates(found, vector @ found.parts), CONFIG.candidates)


def _taught(
    found: Mapping[int, BlendedCandidates],
    queries: list[Query],
    weights: Mapping[str, float],
    exam: BenchmarkTask,
    rows: NDArray[np.integer],
    *,
    seed: int,
) -> Ranker | None:
    """The ranker taught on these questions; None where too few have an answer among candidates."""
    facts = item_facts(exam.data)
    models = tuple(weights)
    matrices = [np.empty((0, len(column_names(models))), np.float32)]
    taken, sizes = [np.empty(0, np.int8)], []
    for row in rows.tolist():
        of_row = found[row]
        hits = np.isin(of_row.candidates.numbers, exam.truth[row])
        # All taken or none taken says nothing about the order.
        if hits.all() or not hits.any():
            continue
        matrices.append(
            ranking_matrix(
                facts,
                [queries[row]],
                [of_row.candidates.numbers],
                [of_row.candidates.parts],
                [of_row.scores],
            )
        )
        taken.append(hits.astype(np.int8))
        sizes.append(len(hits))
    labels = np.concatenate(taken)
    table = LabelledTable(
        models=models,
        matrix=np.concatenate(matrices),
        taken=labels,
        sizes=np.array(sizes, np.int64),
        weights=np.ones(len(labels), np.float32),
    )
    ranker = fit_ranker([table], CONFIG, seed=seed)
    return None if ranker is None else replace(ranker, facts=facts)


def _ordered(
    ranker: Ranker,
    queries: list[Query],
    found: list[BlendedCandidates],
    weights: Mapping[str, float],
    rules: Rules,
) -> list[Numbers]:
    """The candidates in the ranker's order, cut to the task's length."""
    feedback_state = [place for place, name in enumerate(weights) if name in ranker.models]
    orders = ranker.scores(
        queries,
        [row.candidates.numbers for row in found],
        [row.candidates.parts[feedback_state] for row in found],
        [row.scores for row in found],
    )
    return [
        top_n_of(row.candidates.numbers, order, rules.length).numbers
        for row, order in zip(found, orders, strict=True)
    ]
