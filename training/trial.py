"""`Trial`: one recipe fitted before a cut, its blends chosen before that, measured after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from recsys.errors import InsufficientData
from recsys.evaluation import EvaluationRules, Report, evaluate
from recsys.placements import Placement
from training.blending import Period, choose_blend
from training.build import Provenance, build
from training.config import Recipe, Split
from training.source import Source

LEAST_DAYS_BEFORE = 1.0
"""A cut needs at least so many days of events before it."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The moments that separate learning, choosing and measuring: validations < test < end."""

    validations: tuple[datetime, ...]
    test: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Trial:
    """What a recipe came to: the placements with their chosen blends, and the report."""

    recipe: Recipe
    placements: tuple[Placement, ...]
    report: Report


def cuts_of(source: Source, split: Split) -> Cuts:
    """Where the source is cut; InsufficientData where nothing would be left to learn from.

    Validation periods for which there are no days are left out, oldest first.
    """
    test = split.test_from or source.newest - timedelta(days=split.test_days)
    first = source.oldest + timedelta(days=LEAST_DAYS_BEFORE)
    if not first <= test < source.newest:
        span = (source.newest - source.oldest).total_seconds() / 86400
        raise InsufficientData(
            f"The events span {span:.1f} days ({source.oldest:%Y-%m-%d} to "
            f"{source.newest:%Y-%m-%d}); a test from {test:%Y-%m-%d} leaves nothing to learn from "
            "or to measure on. Set 'split.test_days' lower or collect more days."
        )
    step = timedelta(days=split.validation_days)
    before = tuple(test - step * (place + 1) for place in range(split.validations))
    return Cuts(tuple(cut for cut in before if cut >= first), test, source.newest)


def try_recipe(
    source: Source,
    cuts: Cuts,
    recipe: Recipe,
    rules: EvaluationRules,
    *,
    seed: int,
    provenance: Provenance,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trial:
    """Chooses the blends on the validation periods, fits at the test cut, measures after it.

    `seed` draws the customers that are measured: two trials with one seed measure the same ones.
    """
    placements = choose_placements(source, cuts, recipe, rules, provenance=provenance, tell=tell)
    data = source.as_of(cuts.test, recipe)
    bundle = build(
        data, recipe, provenance=provenance, placements=placements, progress=_prefixed("fit", tell)
    )
    held_out = source.held_out(cuts.test, cuts.end, sample=rules.sample, seed=seed)
    report = evaluate(
        bundle,
        data,
        held_out,
        rules=rules,
        rng=np.random.default_rng(seed),
        progress=progress,
    )
    return Trial(recipe, placements, report)


def choose_placements(
    source: Source,
    cuts: Cuts,
    recipe: Recipe,
    rules: EvaluationRules,
    *,
    provenance: Provenance,
    tell: Callable[[str], None] | None = None,
) -> tuple[Placement, ...]:
    """The recipe's placements with blends chosen on the validation periods.

    Without a validation period, or with no sweeps asked for, the recipe's own blends stand.
    """
    search = recipe.blend_search
    if not cuts.validations or not search.sweeps or not search.placements:
        return recipe.placements
    searched = tuple(
        placement.model_copy(update={"blend": {name: max(w, 1e-9) for name, w in blend.items()}})
        for placement in recipe.placements
        if placement.name in search.placements
        for blend in [placement.blend]
    )
    ends = (cuts.test, *cuts.validations[:-1])
    periods = []
    for cut, until in zip(cuts.validations, ends, strict=True):
        data = source.as_of(cut, recipe)
        bundle = build(
            data,
            recipe,
            provenance=provenance,
            placements=searched,
            progress=_prefixed(f"fit as of {cut:%Y-%m-%d}", tell),
        )
        held_out = source.held_out(cut, until, sample=search.sample, seed=recipe.seed)
        periods.append(Period(bundle, data, held_out))
    chosen = {}
    for placement in recipe.placements:
        if placement.name in search.placements:
            chosen[placement.name] = choose_blend(
                periods,
                placement,
                search,
                n=rules.n,
                rng=np.random.default_rng(recipe.seed),
                progress=None if tell is None else lambda best: tell(f"blend {best:.4f}"),
            )
    return tuple(chosen.get(placement.name, placement) for placement in recipe.placements)


def _prefixed(prefix: str, tell: Callable[[str], None] | None) -> Callable[[str], None] | None:
    return None if tell is None else lambda name: tell(f"{prefix}: {name}")
