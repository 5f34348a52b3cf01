"""Training sets of a ranker: candidates as of earlier cuts, labelled by what happened after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.dataset.splitting import check_no_leak
from recsys.errors import InsufficientData
from recsys.evaluation.held_out_queries import CHUNK, live_catalog_as_of, truth_numbers
from recsys.ids import NONE, Mask, Numbers
from recsys.query.query import Query
from recsys.ranking.features import ItemFacts, item_facts
from recsys.ranking.ranker import column_names, ranking_matrix
from recsys.recommend.candidates import BlendedCandidates, best_of, blended, condition, gather
from recsys.recommend.suppression import query_for
from training.config import RankerConfig, Recipe
from training.fitting.blend_weights import Period, excluded_by
from training.fitting.build import build
from training.fitting.candidate_table import placement_queries
from training.fitting.source import TrainingSource
from training.run_context import RunContext

OBSERVED = 0.9
"""Share of a period that must have passed before it is used."""


@dataclass(frozen=True, slots=True)
class LabelledTable:
    """Candidates with what was known of them before a cut, and whether they were taken after it.

    `matrix` has a row per candidate and the columns of `column_names(models)`; `taken` is 0 or 1;
    `sizes` are the numbers of candidates of one customer after the other; `weights` one per row.
    """

    models: tuple[str, ...]
    matrix: NDArray[np.float32]
    taken: NDArray[np.int8]
    sizes: NDArray[np.int64]
    weights: NDArray[np.float32]

    def of_models(self, kept: Sequence[str]) -> LabelledTable:
        """The table with the columns of some of its models alone."""
        names = column_names(self.models)
        columns = [names.index(name) for name in column_names(kept)]
        return replace(self, models=tuple(kept), matrix=self.matrix[:, columns])

    def scored_customers(self) -> dict[str, int]:
        """Model → the number of customers for whom it scored any candidate."""
        if not len(self.sizes):
            return dict.fromkeys(self.models, 0)
        names, starts = column_names(self.models), np.cumsum(self.sizes) - self.sizes
        return {
            name: int(
                np.logical_or.reduceat(
                    self.matrix[:, names.index(f"score of {name}")] != 0, starts
                ).sum()
            )
            for name in self.models
        }


@dataclass(frozen=True, slots=True)
class RankerTrainingSets:
    """The labelled tables of a placement's past periods, each made once.

    The periods lie on one grid, on which one ends at `anchor`, so that what is taught later looks
    at the same ones again. The models of a period are fitted on what lay before it; `built` are
    periods whose bundles can be used for that again.
    """

    source: TrainingSource
    recipe: Recipe
    config: RankerConfig
    placement: Placement
    anchor: datetime
    built: Sequence[Period] = ()
    _tables: dict[tuple[datetime, datetime], LabelledTable] = field(
        default_factory=dict, compare=False, repr=False
    )

    def before(self, until: datetime, *, context: RunContext) -> list[LabelledTable]:
        """One table per period that ends by `until`; those in which nobody took anything are left
        out."""
        tables = []
        for cut in label_cuts(until, self.source.oldest, self.config, anchor=self.anchor):
            end = min(cut + timedelta(days=self.config.period_days), until)
            if (cut, end) not in self._tables:
                context.report_progress(f"{self.placement.name}: labels after {cut:%Y-%m-%d}")
                try:
                    period = self._period(cut, end, context)
                except InsufficientData:
                    continue
                rng = np.random.default_rng([self.recipe.seed, int(cut.timestamp())])
                table = labelled_table(period, self.placement, self.config, rng=rng)
                self._tables[cut, end] = table
            tables.append(self._tables[cut, end])
        return tables

    def _period(self, cut: datetime, end: datetime, context: RunContext) -> Period:
        held_out = self.source.held_out(
            cut,
            end,
            sample=self.config.customers,
            seed=self.recipe.seed,
            objective=self.recipe.objective,
        )
        for period in self.built:
            if period.held_out.cut == cut:
                return replace(period, held_out=held_out)
        earlier = self.source.read_uncached(cut, self.recipe)
        blend = {name: max(weight, 1e-9) for name, weight in self.placement.blend.items()}
        searched = [self.placement.with_blend(blend)]
        bundle = build(earlier, self.recipe, context=context, placements=searched)
        return Period(bundle, earlier, held_out)


def label_cuts(
    until: datetime, oldest: datetime, config: RankerConfig, *, anchor: datetime
) -> tuple[datetime, ...]:
    """The cuts of the periods to learn from, newest first, on the grid where one ends at `anchor`.

    Of the newest period at least OBSERVED lies before `until`; all others end by then. Cuts with
    fewer than `least_days` of events before them are left out.
    """
    first = oldest + timedelta(days=config.least_days)
    length, stride = timedelta(days=config.period_days), timedelta(days=config.stride_days)
    newest = anchor - length + stride * ((until - anchor + length * (1 - OBSERVED)) // stride)
    cuts = (newest - stride * index for index in range(config.periods))
    return tuple(cut for cut in cuts if cut >= first)


def labelled_table(
    period: Period, placement: Placement, config: RankerConfig, *, rng: Generator
) -> LabelledTable:
    """The best candidates of every customer of a period, and the best of those new to them.

    All that were taken are kept, of the others a share of `negatives`. A row weighs (items that the
    customer took)^−`bulk_discount`, so that a few bulk buyers do not outvote the rest. Raises
    LeakFromFuture where the period's data reach into what is held out.
    """
    check_no_leak(period.data, period.held_out)
    held_out = period.held_out
    known = [
        index
        for index, person in enumerate(held_out.persons)
        if period.data.users.number(person) is not None
    ]
    queries = placement_queries(
        period.data,
        [held_out.persons[index] for index in known],
        placement,
        period.bundle.segments,
    )
    truth = truth_numbers([held_out.truth[index] for index in known], period.bundle.items)
    eligible = live_catalog_as_of(period.bundle).eligible(held_out.cut)
    batches = (
        (
            some := [query_for(query, placement) for query in queries[start : start + CHUNK]],
            _candidates(period.bundle, some, placement, config.lesson_candidates, eligible),
            truth[start : start + CHUNK],
        )
        for start in range(0, len(known), CHUNK)
    )
    facts = item_facts(period.data)
    return label_candidates(tuple(placement.blend), facts, batches, config, rng=rng)


def label_candidates(
    models: tuple[str, ...],
    facts: ItemFacts,
    batches: Iterable[tuple[Sequence[Query], Sequence[BlendedCandidates], Sequence[Numbers]]],
    config: RankerConfig,
    *,
    rng: Generator,
) -> LabelledTable:
    """Candidates with their features, labelled by whether they are in the truth of their query.

    `batches` holds queries, candidates and truths in parallel. All hits are kept, of the others a
    random share of `config.negatives`.
    """
    matrices = [np.empty((0, len(column_names(models))), np.float32)]
    labels, discounts = [np.empty(0, np.bool_)], []
    for queries, candidates, truths in batches:
        numbers = [row.candidates.numbers for row in candidates]
        parts = [row.candidates.parts for row in candidates]
        matrix = ranking_matrix(facts, queries, numbers, parts, [row.scores for row in candidates])
        first = 0
        for items, truth in zip(numbers, truths, strict=True):
            hits = np.isin(items, truth)
            kept = hits | (rng.random(len(items)) < config.negatives)
            rows = matrix[first : first + len(items)][kept]
            first += len(items)
            # A query with only hits or none says nothing about the order.
            if hits.any() and not hits[kept].all():
                matrices.append(rows)
                labels.append(hits[kept])
                discounts.append(float(len(truth)) ** -config.bulk_discount)
    sizes = np.array([len(hits) for hits in labels[1:]], np.int64)
    return LabelledTable(
        models=models,
        matrix=np.concatenate(matrices),
        taken=np.concatenate(labels).astype(np.int8),
        sizes=sizes,
        weights=np.repeat(np.array(discounts, np.float32), sizes),
    )


def _candidates(
    bundle: Bundle, queries: Sequence[Query], placement: Placement, n: int, eligible: Mask
) -> list[BlendedCandidates]:
    """Per query the blend's n best of what may be shown, and the n best of those that are new."""
    models = tuple(placement.blend)
    weights = np.array([placement.blend[name] for name in models], np.float32)
    scorers = condition(bundle, queries, models)
    nothing: list[Numbers] = [NONE] * len(queries)
    both = []
    for query, candidates in zip(
        queries, gather(scorers, placement.candidates, eligible, nothing), strict=True
    ):
        blend = blended(candidates, weights, models)
        numbers = blend.candidates.numbers
        shown = ~excluded_by(placement, numbers, query, bundle.models)
        new = ~np.isin(numbers, query.history.items)
        kept = np.union1d(
            best_of(blend.where(shown), n).candidates.numbers,
            best_of(blend.where(shown & new), n).candidates.numbers,
        )
        both.append(blend.where(np.isin(numbers, kept)))
    return both
