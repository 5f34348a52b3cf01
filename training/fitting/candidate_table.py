"""`CandidateTable`: one validation period as arrays, so that thousands of blends can be judged.

Candidates, scales and truth are those that serving and evaluation use; only the weights are open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Where
from recsys.dataset.splitting import HeldOut, check_no_leak
from recsys.dataset.training_data import TrainingData
from recsys.evaluation.held_out_queries import CHUNK, numbered_truth
from recsys.evaluation.objectives import Objective, counts, gains
from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Model
from recsys.query.builder import build_query, personal_rules_of
from recsys.query.query import Query
from recsys.query.segments import Segment
from recsys.recommend.already_bought import no_repeats
from recsys.recommend.candidates import Candidates, gather
from recsys.recommend.frequency_cap import frequency_capped
from recsys.recommend.suppression import query_for

WIDTH = 400
"""Candidates kept per customer: those with the best rank in any model."""

LEAST_SCORED = 0.02
"""A model that scores anything for fewer than this share of the customers cannot be evaluated: at a
cut hardly anybody is in a visit, so that a session model speaks for a handful."""

ScoreMatrix = NDArray[np.float32]
"""One model's scaled scores: customers × candidates, 0 where it has no opinion."""


@dataclass(frozen=True, slots=True)
class Period:
    """A bundle fitted before a cut, and what happened after it."""

    bundle: Bundle
    data: TrainingData
    held_out: HeldOut


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """One period's candidates, customers × at most WIDTH, padded with items of number −1.

    `gains` is how much a candidate counts where the customer took it, else 0; `excluded` may not be
    shown (padding included), `seen` is in the customer's history. `totals` are the gains of all
    that was taken and `ideals` its best possible DCG@n; the `unseen` ones are of items new to the
    customer. 0 where nothing counts.
    """

    persons: tuple[str, ...]
    numbers: NDArray[np.int32]
    gains: NDArray[np.float32]
    excluded: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    totals: NDArray[np.float64]
    ideals: NDArray[np.float64]
    totals_unseen: NDArray[np.float64]
    ideals_unseen: NDArray[np.float64]
    n: int

    def measure(self, scores: ScoreMatrix) -> tuple[float, float]:
        """recall@n + NDCG@n by gain, of all items and of items new to the customer."""
        whole = self._mean(scores, self.excluded, self.totals, self.ideals)
        unseen = self._mean(scores, self.seen, self.totals_unseen, self.ideals_unseen)
        return whole, unseen

    def _mean(
        self,
        scores: ScoreMatrix,
        left_out: NDArray[np.bool_],
        totals: NDArray[np.float64],
        ideals: NDArray[np.float64],
    ) -> float:
        counted = totals > 0
        if not counted.any() or not scores.shape[1]:
            return 0.0
        n = min(self.n, scores.shape[1])
        shown = np.where(left_out | (scores <= 0), -np.inf, scores)[counted]
        top = np.argpartition(-shown, n - 1, axis=1)[:, :n]
        best = np.take_along_axis(shown, top, 1)
        order = np.argsort(-best, axis=1, kind="stable")
        gained = np.take_along_axis(self.gains[counted], np.take_along_axis(top, order, 1), 1)
        gained = np.where(np.isfinite(np.take_along_axis(best, order, 1)), gained, 0.0)
        discounts = 1.0 / np.log2(np.arange(n) + 2.0)
        recall = gained.sum(axis=1) / totals[counted]
        ndcg = (gained @ discounts) / ideals[counted]
        return float((recall + ndcg).mean())


def tabulate(
    data: TrainingData,
    held_out: HeldOut,
    models: Mapping[str, Model],
    placement: Placement,
    *,
    eligible: Mask,
    objective: Objective,
    sample: int,
    n: int,
    rng: Generator,
    knowledge: Mapping[str, Model] | None = None,
    segments: Sequence[Segment] = (),
) -> tuple[CandidateTable, NDArray[np.float32]]:
    """The table of a period over the union of the models' candidates, and each model's part of it:
    models × customers × candidates. `knowledge` are the models of `Placement.knowledge`, `segments`
    the rules of the segments in force.

    Only customers with a history are in it. Raises LeakFromFuture where the data overlap.
    """
    check_no_leak(data, held_out)
    knowledge = knowledge or {}
    chosen = _sampled(data, held_out, sample, rng)
    persons = tuple(held_out.persons[index] for index in chosen)
    queries = placement_queries(data, persons, placement, segments)
    taken = numbered_truth([held_out.truth[index] for index in chosen], data.items)
    weighed = [gains(objective, held_out.truth[index]) for index in chosen]
    rows = _TableRows.empty(len(models), len(chosen))
    for start in range(0, len(chosen), CHUNK):
        some = queries[start : start + CHUNK]
        asked = [query_for(query, placement) for query in some]
        scorers = {name: model.condition(asked) for name, model in models.items()}
        gathered = gather(scorers, placement.candidates, eligible, [NONE] * len(some))
        for row, (query, as_asked, union) in enumerate(
            zip(some, asked, gathered, strict=True), start=start
        ):
            candidates = _narrowed(union)
            excluded = excluded_by(placement, candidates.numbers, as_asked, knowledge)
            rows.add_candidates(row, candidates, query.history.items, excluded)
            if counts(objective, query):
                truth, columns = taken[row]
                rows.add_gains(row, truth, weighed[row][columns], query.history.items, n)
    return rows.table(persons, n), rows.parts


def _sampled(data: TrainingData, held_out: HeldOut, sample: int, rng: Generator) -> list[int]:
    """Positions of at most `sample` held-out persons who have a history, ascending."""
    known = [
        index
        for index, person in enumerate(held_out.persons)
        if data.users.number(person) is not None
    ]
    if len(known) > sample:
        return sorted(rng.choice(known, size=sample, replace=False).tolist())
    return known


@dataclass(frozen=True, slots=True)
class _TableRows:
    """The arrays of a table while its rows are filled; `sums` are the four totals and ideals."""

    numbers: NDArray[np.int32]
    parts: NDArray[np.float32]
    gains: NDArray[np.float32]
    excluded: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    sums: NDArray[np.float64]

    @classmethod
    def empty(cls, n_models: int, n_persons: int) -> _TableRows:
        shape = (n_persons, WIDTH)
        return cls(
            numbers=np.full(shape, -1, np.int32),
            parts=np.zeros((n_models, *shape), np.float32),
            gains=np.zeros(shape, np.float32),
            excluded=np.ones(shape, np.bool_),
            seen=np.ones(shape, np.bool_),
            sums=np.zeros((4, n_persons)),
        )

    def add_candidates(
        self, row: int, candidates: Candidates, history: Numbers, excluded: NDArray[np.bool_]
    ) -> None:
        size = len(candidates.numbers)
        self.numbers[row, :size] = candidates.numbers
        self.parts[:, row, :size] = candidates.parts
        self.seen[row, :size] = np.isin(candidates.numbers, history)
        self.excluded[row, :size] = excluded

    def add_gains(
        self, row: int, truth: Numbers, gain: NDArray[np.float64], history: Numbers, n: int
    ) -> None:
        """What each item of the truth gains, where it is among the row's candidates."""
        self.gains[row] = _looked_up(self.numbers[row], truth, gain)
        new = ~np.isin(truth, history)
        self.sums[:, row] = *_sums(gain, n), *_sums(gain[new], n)

    def table(self, persons: tuple[str, ...], n: int) -> CandidateTable:
        totals, ideals, totals_unseen, ideals_unseen = self.sums
        return CandidateTable(
            persons=persons,
            numbers=self.numbers,
            gains=self.gains,
            excluded=self.excluded,
            seen=self.seen,
            totals=totals,
            ideals=ideals,
            totals_unseen=totals_unseen,
            ideals_unseen=ideals_unseen,
            n=n,
        )


def placement_queries(
    data: TrainingData,
    persons: Sequence[str],
    placement: Placement,
    segments: Sequence[Segment] = (),
) -> list[Query]:
    """What the service would know of these persons at the moment of the data (their `as_of`).

    Items of refused brands and categories are among `refused`: where candidates are tabulated no
    rules are applied. Boosts and quotas of interests are left out.
    """
    settings = data.query_settings(
        segments=segments, counts_impressions=placement.fatigue is not None
    )
    columns, now = LiveCatalog.of(data.catalog).columns, data.as_of
    queries = []
    for person in persons:
        facts, context = data.facts(person, now=now), data.records.context(person, now=now)
        query = build_query(facts, settings, now=now, context=context)
        for rule in personal_rules_of(facts):
            if isinstance(rule.exclude, Where):
                items = np.flatnonzero(columns.mask(rule.exclude)).astype(np.int32)
                query = replace(query, refused=np.union1d(query.refused, items))
        queries.append(query)
    return queries


def part_of(
    model: Model,
    table: CandidateTable,
    queries: Sequence[Query],
    placement: Placement,
    eligible: Mask,
) -> ScoreMatrix:
    """One model's scaled scores of a table's candidates, as `candidates.gather` scales them.

    What it alone would have put forward is not in the table and stays out.
    """
    part = np.zeros(table.numbers.shape, np.float32)
    for start in range(0, len(queries), CHUNK):
        scorer = model.condition(
            [query_for(query, placement) for query in queries[start : start + CHUNK]]
        )
        retrieved = scorer.retrieve(placement.candidates, eligible)
        rows = [row[row >= 0] for row in table.numbers[start : start + CHUNK]]
        for offset, (candidates, scores) in enumerate(
            zip(retrieved, scorer.score(rows), strict=True), start=start
        ):
            norm = float(np.linalg.norm(np.maximum(candidates.scores, 0.0)))
            if norm > 0:
                part[offset, : len(scores)] = np.maximum(np.nan_to_num(scores, nan=0.0), 0.0) / norm
    return part


def excluded_by(
    placement: Placement, numbers: Numbers, query: Query, models: Mapping[str, Model]
) -> NDArray[np.bool_]:
    """Which of the items a placement does not show for this query (as `query_for` gives it): what
    was bought or seen, by its `repeats`, what is refused and what tires."""
    excluded = [no_repeats(query, placement, models), query.refused]
    if placement.fatigue is not None:
        now = query.now.timestamp()
        excluded.append(frequency_capped(query.unclicked_impressions, placement.fatigue, now=now))
    return np.isin(numbers, np.concatenate(excluded))


def _narrowed(candidates: Candidates) -> Candidates:
    if len(candidates.numbers) <= WIDTH:
        return candidates
    ranks = np.argsort(np.argsort(-candidates.parts, axis=1, kind="stable"), axis=1, kind="stable")
    ranks = np.where(candidates.parts > 0, ranks, ranks.shape[1])
    kept = np.sort(np.argsort(ranks.min(axis=0), kind="stable")[:WIDTH])
    return Candidates(candidates.numbers[kept], candidates.parts[:, kept])


def _looked_up(numbers: Numbers, truth: Numbers, gain: NDArray[np.float64]) -> NDArray[np.float32]:
    if not len(truth):
        return np.zeros(len(numbers), np.float32)
    nearest = np.minimum(np.searchsorted(truth, numbers), len(truth) - 1)
    return np.where(truth[nearest] == numbers, gain[nearest], 0.0).astype(np.float32)


def _sums(gain: NDArray[np.float64], n: int) -> tuple[float, float]:
    best = np.sort(gain)[::-1][:n]
    return float(gain.sum()), float(best @ (1.0 / np.log2(np.arange(len(best)) + 2.0)))
