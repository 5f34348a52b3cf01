"""Cold start, measured: items that nobody has touched yet, customers of whom nothing is known.

A tenth of the items is taken out of the events, not out of the catalogue; who buys them later?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recsys.dataset.training_data import Baskets, Popularity, Timeline, TrainingData
from recsys.evaluation.baselines import buyers
from recsys.evaluation.intervals import Values
from recsys.evaluation.metrics import ndcg_at_k, recall_at_k
from recsys.events.schema import PURCHASE
from recsys.ids import Mask, Numbers
from recsys.models.content.content import ContentConfig, description_vectors
from recsys.models.protocol import Model
from recsys.models.scoring.top_n import top_n
from recsys.query.query import Context, Query
from training.benchmark.comparisons.rows import Row, rows_of
from training.config import Recipe
from training.fitting.build import fit

AsOf = Callable[[datetime], TrainingData]

OURS: Final = "newcomers"
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
) -> list[Row]:
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
) -> list[Row]:
    """Which of the masked items each customer of both periods buys after `known.as_of`; all of the
    masked items are ranked, and nothing else."""
    rng = np.random.default_rng(seed)
    masked = rng.random(len(known.items)) < share
    masked &= np.bincount(known.interactions.indices, minlength=len(masked)) > 0
    cold = without_events_of(known, masked)
    persons, truth = _bought_later(cold, later, masked)
    queries = cold.queries(persons, now=known.as_of)
    measured: dict[str, Mapping[str, Values]] = {}
    for name in COLD_FAMILIES:
        model: Model = fit(name, cold, recipe)
        found = model.condition(queries).retrieve(K, masked)
        measured[name] = _figures([scored.numbers for scored in found], truth)
    nearest = top_n(nearest_popularity(cold, masked).astype(np.float32), K, allow=masked).numbers
    measured["popularity of the nearest titles"] = _figures([nearest] * len(truth), truth)
    return rows_of(
        f"cold items ({int(masked.sum())} masked)",
        measured,
        ours=OURS,
        rng=np.random.default_rng(seed),
    )


def customer_rows(
    known: TrainingData, later: TrainingData, *, recipe: Recipe, seed: int = 7
) -> list[Row]:
    """What customers buy of whom no event is known, with their declared traits and without."""
    everything = np.ones(len(known.items), np.bool_)
    persons, truth = _bought_later(known, later, everything, newcomers=True)
    profiles = [later.profiles[user] for user in _users(later, persons)]
    strangers = [Query(now=known.as_of) for _ in persons]
    told = [
        replace(query, profile=profile, context=Context(country=profile.country))
        for query, profile in zip(strangers, profiles, strict=True)
    ]
    measured: dict[str, Mapping[str, Values]] = {}
    for name, family, queries in (
        ("by country, traits told", "popularity_by_country", told),
        ("hybrid, traits told", "hybrid", told),
        ("no traits: popularity of the moment", "popularity", strangers),
    ):
        found = fit(family, known, recipe).condition(queries).retrieve(K, everything)
        measured[name] = _figures([scored.numbers for scored in found], truth)
    of_all_time = top_n(buyers(known).astype(np.float32), K).numbers
    measured["popularity of all time"] = _figures([of_all_time] * len(truth), truth)
    return rows_of(
        "cold customers",
        measured,
        ours="by country, traits told",
        rng=np.random.default_rng(seed),
    )


def without_events_of(data: TrainingData, masked: Mask) -> TrainingData:
    """The training data had nobody ever touched these items; the catalogue keeps them."""
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


def _bought_later(
    known: TrainingData, later: TrainingData, items: Mask, *, newcomers: bool = False
) -> tuple[list[str], list[Numbers]]:
    """Customers with what they bought of these items after `known.as_of`: those with a history,
    or with `newcomers` those without."""
    timeline = later.timeline
    numbers = known.items.numbers(later.items.ids())
    bought = numbers[timeline.items]
    chosen = (
        (timeline.kinds == PURCHASE)
        & (timeline.times >= known.as_of.timestamp())
        & (bought >= 0)
        & items[bought]
    )
    users, places = np.unique(timeline.users[chosen], return_inverse=True)
    truth = [
        np.unique(part)
        for part in np.split(
            bought[chosen][np.argsort(places, kind="stable")],
            np.cumsum(np.bincount(places, minlength=len(users)))[:-1],
        )
    ]
    persons, kept = [], []
    for person, taken in zip(later.users.ids(users), truth, strict=True):
        user = known.users.number(person)
        has_history = (
            user is not None and known.timeline.starts[user] < known.timeline.starts[user + 1]
        )
        if has_history != newcomers:
            persons.append(person)
            kept.append(taken)
    return persons, kept


def _users(data: TrainingData, persons: Sequence[str]) -> list[int]:
    return [user for person in persons if (user := data.users.number(person)) is not None]


def _figures(lists: Sequence[Numbers], truth: Sequence[Numbers]) -> Mapping[str, Values]:
    return {
        f"recall_at_{K}": np.asarray(recall_at_k(lists, truth, K)),
        f"ndcg_at_{K}": np.asarray(ndcg_at_k(lists, truth, K)),
    }
