"""Cold start: items without any event, and customers without any.

A tenth of the items is removed from the events but stays in the catalogue; the truth is who buys
them later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recsys.dataset.event_tables import Baskets, Popularity, Timeline
from recsys.dataset.training_data import TrainingData
from recsys.evaluation.baselines import buyers
from recsys.evaluation.intervals import Values
from recsys.evaluation.metrics import ndcg_at_k, recall_at_k
from recsys.ids import Mask, Numbers
from recsys.models.content.content import ContentConfig, description_vectors
from recsys.models.protocol import Model
from recsys.models.scoring.top_n import top_n
from recsys.query.builder import build_query, stranger_query
from recsys.query.facts import PersonFacts
from recsys.query.query import Context
from training.benchmark.comparisons.rows import AsOf, ComparisonRow, bought_later, rows_of
from training.config import Recipe
from training.fitting.build import fit

OURS: Final = "newcomers"
BY_COUNTRY: Final = "by country, traits known"
COLD_FAMILIES: Final = (OURS, "hybrid", "content")
K: Final = 20
NEAREST: Final = 10


def rows(
    as_of: AsOf,
    cut: datetime,
    until: datetime,
    *,
    recipe: Recipe,
    share: float = 0.1,
    seed: int = 7,
) -> list[ComparisonRow]:
    """Cold items, then cold customers; `recall_at_20` and `ndcg_at_20`, one value per customer."""
    known, later = as_of(cut), as_of(until)
    return [
        *item_rows(known, later, recipe=recipe, share=share, seed=seed),
        *customer_rows(known, later, recipe=recipe, seed=seed),
    ]


def item_rows(
    known: TrainingData,
    later: TrainingData,
    *,
    recipe: Recipe,
    share: float = 0.1,
    seed: int = 7,
) -> list[ComparisonRow]:
    """Customers of both periods: which of the masked items they buy after `known.as_of`, with the
    masked items alone ranked."""
    rng = np.random.default_rng(seed)
    masked = rng.random(len(known.items)) < share
    masked &= np.bincount(known.interactions.indices, minlength=len(masked)) > 0
    cold = without_events_of(known, masked)
    bought = {
        person: items[masked[items]]
        for person, items in bought_later(cold, later).items()
        if masked[items].any() and _has_history(cold, person)
    }
    persons, truth = list(bought), list(bought.values())
    queries = cold.queries(persons, now=known.as_of)
    measured: dict[str, Mapping[str, Values]] = {}
    for name in COLD_FAMILIES:
        model: Model = fit(name, cold, recipe)
        retrieved = model.condition(queries).retrieve(K, masked)
        measured[name] = _metrics([scored.numbers for scored in retrieved], truth)
    nearest = top_n(nearest_popularity(cold, masked).astype(np.float32), K, allow=masked).numbers
    measured["popularity of the nearest titles"] = _metrics([nearest] * len(truth), truth)
    return rows_of(
        f"cold items ({int(masked.sum())} masked)",
        measured,
        ours=OURS,
        rng=np.random.default_rng(seed),
    )


def customer_rows(
    known: TrainingData, later: TrainingData, *, recipe: Recipe, seed: int = 7
) -> list[ComparisonRow]:
    """Customers without an event before `known.as_of`: what they buy then, predicted with their
    declared traits and without."""
    everything = np.ones(len(known.items), np.bool_)
    bought = {
        person: items
        for person, items in bought_later(known, later).items()
        if not _has_history(known, person)
    }
    truth = list(bought.values())
    profiles = [later.profiles[user] for user in later.users.known(list(bought)).tolist()]
    without_traits = [stranger_query(known.as_of) for _ in profiles]
    with_traits = [
        build_query(
            PersonFacts(profile=profile),
            known.query_settings(),
            now=known.as_of,
            context=Context(country=profile.country),
        )
        for profile in profiles
    ]
    measured: dict[str, Mapping[str, Values]] = {}
    for name, family, queries in (
        (BY_COUNTRY, "popularity_by_country", with_traits),
        ("hybrid, traits known", "hybrid", with_traits),
        ("no traits: popularity of the moment", "popularity", without_traits),
    ):
        retrieved = fit(family, known, recipe).condition(queries).retrieve(K, everything)
        measured[name] = _metrics([scored.numbers for scored in retrieved], truth)
    of_all_time = top_n(buyers(known).astype(np.float32), K).numbers
    measured["popularity of all time"] = _metrics([of_all_time] * len(truth), truth)
    return rows_of(
        "cold customers",
        measured,
        ours=BY_COUNTRY,
        rng=np.random.default_rng(seed),
    )


def without_events_of(data: TrainingData, masked: Mask) -> TrainingData:
    """The training data as if these items had no event; the catalogue keeps them."""
    kept = ~masked
    timeline, popularity = data.timeline, data.popularity
    chosen = kept[timeline.items]
    counts = np.bincount(timeline.users[chosen], minlength=len(data.users))
    of_popularity = kept[popularity.items]
    basket_items = csr_array(data.baskets.matrix @ diags_array(kept.astype(np.float32)))
    basket_items.eliminate_zeros()
    interactions = csr_array(data.interactions @ diags_array(kept.astype(np.float32)))
    interactions.eliminate_zeros()
    return replace(
        data,
        interactions=interactions,
        timeline=Timeline(
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            users=timeline.users[chosen],
            items=timeline.items[chosen],
            kinds=timeline.kinds[chosen],
            times=timeline.times[chosen],
            events=timeline.events[chosen],
            sessions=timeline.sessions[chosen] if len(timeline.sessions) else timeline.sessions,
        ),
        baskets=Baskets(basket_items, data.baskets.users, data.baskets.times),
        popularity=Popularity(
            items=popularity.items[of_popularity],
            kinds=popularity.kinds[of_popularity],
            days=popularity.days[of_popularity],
            countries=popularity.countries[of_popularity],
            counts=popularity.counts[of_popularity],
            country_names=popularity.country_names,
        ),
    )


def nearest_popularity(data: TrainingData, masked: Mask) -> NDArray[np.float64]:
    """Per item Σ cosine · buyers over the ten known items with the nearest titles."""
    titles = description_vectors(
        data.catalog.items, ContentConfig(category=0.0, brand=0.0, price=0.0)
    ).vectors
    counts = buyers(data)
    scores = np.zeros(len(counts))
    near = csr_array(titles[np.flatnonzero(masked)] @ titles[np.flatnonzero(~masked)].T)
    of_known = counts[~masked]
    for row, item in enumerate(np.flatnonzero(masked).tolist()):
        span = slice(near.indptr[row], near.indptr[row + 1])
        cosines, others = near.data[span], near.indices[span]
        best = np.argsort(-cosines, kind="stable")[:NEAREST]
        scores[item] = float(cosines[best] @ of_known[others[best]])
    return np.where(scores > 0, scores, np.nan)


def _has_history(data: TrainingData, person: str) -> bool:
    user = data.users.number(person)
    return user is not None and bool(np.diff(data.timeline.starts[user : user + 2])[0])


def _metrics(lists: Sequence[Numbers], truth: Sequence[Numbers]) -> Mapping[str, Values]:
    return {
        f"recall_at_{K}": np.asarray(recall_at_k(lists, truth, K)),
        f"ndcg_at_{K}": np.asarray(ndcg_at_k(lists, truth, K)),
    }
