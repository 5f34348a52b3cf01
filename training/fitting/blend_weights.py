"""Chooses how much each model of a placement weighs, on validation periods alone.

Coordinate ascent over the same candidates and scales that serving uses (`candidates.gather`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.placements import Placement
from recsys.evaluation.held_out_queries import live_catalog_as_of
from recsys.evaluation.objectives import Objective
from training.config import BlendSearch
from training.fitting.candidate_table import (
    LEAST_SCORED,
    CandidateTable,
    Period,
    ScoreMatrix,
    excluded_by,
    tabulate,
)
from training.run_context import RunContext

__all__ = ["BlendObjective", "Period", "choose_blend", "coordinate_ascent", "excluded_by"]

STEPS = (0.5, 0.2)
LEAST_GAIN = 1e-4
LEAST_SHARE = 0.01
LEAST_VALUE = 1e-9

Weights = NDArray[np.float64]


def choose_blend(
    periods: Sequence[Period],
    placement: Placement,
    search: BlendSearch,
    *,
    n: int,
    rng: Generator,
    objective: Objective = "conversions",
    context: RunContext,
) -> Placement:
    """The placement with the blend that was best over the periods; it starts from its own blend.

    Maximises `BlendObjective.value` with the starting blend as 1. Weights sum to 1; a model below
    1 % gets 0 and is not fitted again. A model that scores for fewer than LEAST_SCORED of the
    customers in every period (a session model: hardly anybody is in a visit at a cut) cannot be
    evaluated and keeps its share of the starting blend. Raises LeakFromFuture where a period's data
    overlap.
    """
    names = tuple(placement.blend)
    tabulated = [
        tabulate(
            period.data,
            period.held_out,
            {name: period.bundle.models[name] for name in names},
            placement,
            eligible=live_catalog_as_of(period.bundle).eligible(period.held_out.cut),
            objective=objective,
            sample=search.sample,
            n=n,
            rng=rng,
            knowledge=period.bundle.models,
            segments=period.bundle.segments,
        )
        for period in periods
    ]
    tabulated = [(table, parts) for table, parts in tabulated if len(table.persons)]
    if not tabulated:
        return placement
    tables = [table for table, _ in tabulated]
    parts = [list(by_model) for _, by_model in tabulated]
    weights = np.array([placement.blend[name] for name in names], np.float64)
    weights /= max(weights.sum(), 1e-12)
    scored = [by_model.any(axis=2).mean(axis=1) for _, by_model in tabulated]
    adjustable = np.any([share >= LEAST_SCORED for share in scored], axis=0)
    kept = np.where(adjustable, 0.0, weights)
    blend_objective = BlendObjective.against(
        tables, totals(parts, weights), new_items_share=search.new_items_share
    )
    weights, _ = coordinate_ascent(
        blend_objective,
        parts,
        weights,
        adjustable,
        sweeps=search.sweeps,
        on_sweep=lambda best: context.report_progress(f"blend {best:.4f}"),
    )
    weights = kept + (1.0 - kept.sum()) * shares(np.where(adjustable, weights, 0.0))
    return placement.with_blend(
        {name: round(weight, 4) for name, weight in zip(names, weights.tolist(), strict=True)}
    )


@dataclass(frozen=True, slots=True)
class BlendObjective:
    """The value of a blend relative to a starting blend: the geometric mean of its gains.

    A relative gain counts the same whether a measure is high or low; an arithmetic mean would
    favour the measure that started low. `start` holds the starting blend's recall@n + NDCG@n per
    period: over all items, and over items new to the customer.
    """

    tables: tuple[CandidateTable, ...]
    start: tuple[tuple[float, float], ...]
    new_items_share: float

    @classmethod
    def against(
        cls,
        tables: Sequence[CandidateTable],
        start: Sequence[ScoreMatrix],
        *,
        new_items_share: float,
    ) -> BlendObjective:
        """The objective under which these scores, one array per period, have the value 1."""
        measured = [table.measure(scores) for table, scores in zip(tables, start, strict=True)]
        return cls(tuple(tables), tuple(measured), new_items_share)

    def value(self, scores: Sequence[ScoreMatrix]) -> float:
        """Geometric mean over the periods of (all / start)^(1 − share) · (new / start)^share.

        `scores` may be of the first periods only.
        """
        values = [self.of_period(period, matrix) for period, matrix in enumerate(scores)]
        return float(np.exp(np.mean(np.log(np.maximum(values, LEAST_VALUE)))))

    def of_period(self, period: int, scores: ScoreMatrix) -> float:
        """The value in one period."""
        measured, base = self.tables[period].measure(scores), self.start[period]
        whole, unseen = (_relative(value, was) for value, was in zip(measured, base, strict=True))
        share = self.new_items_share if base[1] > 0 else 0.0
        return float(whole ** (1.0 - share) * unseen**share)


class ScoresObjective(Protocol):
    """What a coordinate ascent maximises."""

    def value(self, scores: Sequence[ScoreMatrix]) -> float:
        """The value of blended scores, one array per period; 1 for the blend to improve on."""


def coordinate_ascent(
    objective: ScoresObjective,
    parts: Sequence[Sequence[ScoreMatrix]],
    weights: Weights,
    adjustable: NDArray[np.bool_],
    *,
    sweeps: int,
    steps: Sequence[float] = STEPS,
    on_sweep: Callable[[float], None] | None = None,
) -> tuple[Weights, float]:
    """The best weights reached by changing a single weight at a time, and their value.

    `parts` is periods × models of score matrices; only weights of `adjustable` models change, each
    by shares of itself (`steps`, the largest first). `on_sweep` is called with the best value after
    each pass over the models.
    """
    scores = totals(parts, weights)
    best = objective.value(scores)
    for step in steps:
        for _ in range(sweeps):
            before = best
            for index in np.flatnonzero(adjustable).tolist():
                for direction in (step, -step):
                    moved = max(0.0, weights[index] + direction * max(0.1, weights[index]))
                    change = moved - weights[index]
                    if not change or not (moved or np.delete(weights, index).any()):
                        continue
                    tried = [
                        whole + np.float32(change) * by_model[index]
                        for whole, by_model in zip(scores, parts, strict=True)
                    ]
                    value = objective.value(tried)
                    if value > best + LEAST_GAIN:
                        weights, best = weights.copy(), value
                        weights[index] = moved
                        scores = totals(parts, weights)
                        break
            if on_sweep is not None:
                on_sweep(best)
            if best <= before:
                break
    return weights, best


def totals(parts: Sequence[Sequence[ScoreMatrix]], weights: Weights) -> list[ScoreMatrix]:
    """Σ weight · part, period by period."""
    summed = []
    for by_model in parts:
        whole = np.zeros_like(by_model[0])
        for weight, part in zip(weights.tolist(), by_model, strict=True):
            if weight:
                whole += np.float32(weight) * part
        summed.append(whole)
    return summed


def shares(weights: Weights) -> Weights:
    """Weights that sum to 1, those below LEAST_SHARE as 0."""
    scaled = weights / max(weights.sum(), 1e-12)
    scaled[scaled < LEAST_SHARE] = 0.0
    return np.asarray(scaled / max(scaled.sum(), 1e-12))


def _relative(value: float, start: float) -> float:
    return value / start if start > 0 else 1.0 + value
