"""Recipe and training data in, bundle out. No file is read or written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.social_proof import social_proof
from recsys.dataset.training_data import TrainingData
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.models.protocol import Model
from recsys.models.registry import config_of, families, family_of
from recsys.ranking.features import item_facts
from recsys.ranking.ranker import Ranker
from training.config import Recipe
from training.run_context import RunContext

SETTLING_DAYS = 14.0
"""After so many days a log knows what the shop has had all along."""


def build(
    data: TrainingData,
    recipe: Recipe,
    *,
    context: RunContext,
    placements: Sequence[Placement] | None = None,
    rankers: Mapping[str, Ranker] | None = None,
) -> Bundle:
    """Fits the models that the placements use and puts them together.

    `placements` replace those of the recipe once their blends are chosen; `rankers` (placement name
    → ranker) get what is known of the items as of these data. The same data and recipe give the
    same arrays: every family has a random generator of its own, seeded by recipe and name.
    """
    chosen = tuple(placements if placements is not None else recipe.placements)
    models = {}
    rankers = rankers or {}
    for name in families_needed(chosen, recipe, rankers):
        context.report_progress(name)
        models[name] = fit(name, data, recipe)
    facts, provenance = item_facts(data), context.provenance
    window_from = data.timeline.times.min() if len(data.timeline.times) else data.as_of.timestamp()
    return Bundle(
        manifest=Manifest(
            model_version=provenance.model_version,
            as_of=data.as_of,
            window_from=data.as_of.fromtimestamp(float(window_from), data.as_of.tzinfo),
            config_digest=recipe.digest(),
            code_revision=provenance.code_revision,
            data_fingerprint=provenance.data_fingerprint,
            synthetic=provenance.synthetic,
        ),
        items=data.items,
        catalog=data.catalog,
        models=models,
        placements={placement.name: placement for placement in chosen},
        weighting=recipe.weighting,
        first_seen=first_seen(data),
        social_proof=social_proof(data, recipe.social_proof),
        rankers={name: replace(ranker, facts=facts) for name, ranker in rankers.items()},
    )


def first_seen(data: TrainingData) -> NDArray[np.float64]:
    """When anybody first touched each item, epoch seconds; NaN where nobody has.

    −inf for what was touched in the first SETTLING_DAYS of the log, which cannot tell what was old
    by then.
    """
    touched = np.full(len(data.items), np.inf)
    days = data.popularity.days
    np.minimum.at(touched, data.popularity.items, days)
    touched[touched < days.min(initial=np.inf) + SETTLING_DAYS * SECONDS_PER_DAY] = -np.inf
    return np.where(touched == np.inf, np.nan, touched)


def fit(name: str, data: TrainingData, recipe: Recipe) -> Model:
    """One model family of the recipe, fitted; InvalidConfig where there is no such family."""
    config = config_of(name, recipe.models.get(name, {}))
    rng = np.random.default_rng([recipe.seed, *name.encode()])
    with threadpool_limits(1, "blas"):
        return family_of(name).fit(data, config, rng=rng)


def families_needed(
    placements: Sequence[Placement], recipe: Recipe, rankers: Mapping[str, Ranker] | None = None
) -> list[str]:
    """The models that some placement or ranker uses, in the order of the registry.

    A fallback or piece of knowledge that the recipe does not list is left out: neither is a reason
    to fail.
    """
    used = {name for placement in placements for name in placement.models}
    used |= {
        name
        for placement in placements
        for name in (*placement.fallback, *placement.knowledge)
        if name in recipe.models
    }
    used |= {name for ranker in (rankers or {}).values() for name in ranker.models}
    return [name for name in families() if name in used]
