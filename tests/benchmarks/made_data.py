"""Training data of any size without an event log: popularity falls off as in shops."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog, Item
from recsys.dataset.event_tables import Baskets, Popularity, Timeline
from recsys.dataset.impressions import Impressions
from recsys.dataset.training_data import TrainingData
from recsys.events.schema import KIND_NUMBER, PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY, Weighting
from recsys.ids import Vocabulary
from recsys.query.profile import UNKNOWN, Profile

COUNTRIES = ("NL", "DE", "FR", "BE")
WORDS, CATEGORIES, BRANDS = 4_000, 500, 300


def made_data(
    *, users: int, items: int, interactions: int, as_of: datetime, seed: int
) -> TrainingData:
    """One purchase per interaction, within 90 days, item popularity ∝ 1 / (rank + 10).

    The catalogue is empty; four in a row of one user are a basket and a visit.
    """
    rng = np.random.default_rng(seed)
    chances = 1.0 / (np.arange(items) + 10.0)
    bought = rng.choice(items, interactions, p=chances / chances.sum()).astype(np.int32)
    who = np.sort(rng.integers(0, users, interactions).astype(np.int32))
    visits = np.arange(interactions, dtype=np.int64) // 4
    times = as_of.timestamp() - rng.uniform(0, 90, interactions) * SECONDS_PER_DAY
    order = np.lexsort((times, who))
    bought, times = bought[order], times[order]
    names = Vocabulary([f"item-{number:07}" for number in range(items)])
    ones = np.ones(interactions, np.float32)
    matrix = csr_array((ones, (who, bought)), shape=(users, items))
    matrix.sum_duplicates()
    baskets = csr_array((ones, (visits, bought)), shape=(int(visits[-1]) + 1, items))
    baskets.sum_duplicates()
    days = np.floor(times / SECONDS_PER_DAY) * SECONDS_PER_DAY
    return TrainingData(
        as_of=as_of,
        users=Vocabulary([f"u:{number:07}" for number in range(users)]),
        items=names,
        interactions=matrix,
        timeline=Timeline(
            starts=np.searchsorted(who, np.arange(users + 1)).astype(np.int64),
            users=who,
            items=bought,
            kinds=np.full(interactions, PURCHASE, np.int8),
            times=times,
            events=visits,
            sessions=visits,
        ),
        baskets=Baskets(baskets, who[::4], times[::4]),
        popularity=Popularity(
            items=bought,
            kinds=np.full(interactions, PURCHASE, np.int8),
            days=days,
            countries=who % len(COUNTRIES),
            counts=np.ones(interactions),
            country_names=Vocabulary(list(COUNTRIES)),
        ),
        catalog=Catalog.of([], names),
        profiles=(UNKNOWN,) * users,
        weighting=Weighting(kind_weights={"purchase": 1.0}, half_life_days=60.0),
    )


def described(data: TrainingData, *, seed: int) -> TrainingData:
    """The same shop with a catalogue, countries and searches: three words, a category path, a brand
    and a price per item; a country per user; lists of ten after a search in a tenth of the visits.
    """
    rng = np.random.default_rng(seed)
    n_items = len(data.items)
    title_terms = rng.integers(0, WORDS, (n_items, 3))
    category_codes = rng.integers(0, CATEGORIES, n_items)
    items = [
        Item(
            item_id=id,
            title=" ".join(f"word{word}" for word in title_terms[number].tolist()),
            category=[f"department {code % 20}", f"shelf {code}"],
            brand=f"brand {brand}",
            price=price,
        )
        for number, (id, code, brand, price) in enumerate(
            zip(
                data.items,
                category_codes.tolist(),
                rng.integers(0, BRANDS, n_items).tolist(),
                np.round(rng.lognormal(3.0, 1.0, n_items), 2).tolist(),
                strict=True,
            )
        )
    ]
    declared = [Profile(country=country, customer_group=country) for country in COUNTRIES]
    return replace(
        data,
        catalog=Catalog.of(items, data.items),
        profiles=tuple(declared[user % len(declared)] for user in range(len(data.users))),
        impressions=made_lists(data, rng),
    )


def made_lists(data: TrainingData, rng: np.random.Generator) -> Impressions:
    """Ten items after each search; what the visit bought is among them and was clicked."""
    timeline, length = data.timeline, 10
    clicked = np.sort(rng.choice(len(timeline.items), len(timeline.items) // 40, replace=False))
    n_items = len(data.items)
    shown = rng.integers(0, n_items, (len(clicked), length)).astype(np.int32)
    outcomes = np.zeros(shown.shape, np.int8)
    places = rng.integers(0, length, len(clicked))
    shown[np.arange(len(clicked)), places] = timeline.items[clicked]
    outcomes[np.arange(len(clicked)), places] = 1
    terms = (timeline.items[clicked] % WORDS).astype(np.int32)
    return Impressions(
        starts=np.arange(len(clicked) + 1, dtype=np.int64) * length,
        terms=terms,
        users=timeline.users[clicked],
        visits=np.arange(len(clicked), dtype=np.int64),
        times=timeline.times[clicked],
        items=shown.ravel(),
        positions=np.tile(np.arange(length, dtype=np.int32), len(clicked)),
        outcomes=outcomes.ravel(),
        term_names=Vocabulary([f"word{word}" for word in range(WORDS)]),
    )


def viewed(data: TrainingData) -> TrainingData:
    """The same rows as views: clicks of visits, for the models of sessions."""
    kinds = np.full(len(data.timeline.items), KIND_NUMBER["view_item"], np.int8)
    weighting = Weighting(kind_weights={"view_item": 1.0}, half_life_days=60.0)
    return replace(data, timeline=replace(data.timeline, kinds=kinds), weighting=weighting)
