"""A published bundle and a filled store of any size, made without a simulation.

The events follow `made_data`; the catalogue has brands, categories, prices and words; the store is
filled by one SQL statement, since ten million customers cannot be sent through the API in a minute.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import numpy as np
from scipy.sparse import csr_array

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Catalog, Item
from recsys.dataset.impressions import Impressions
from recsys.dataset.training_data import TrainingData
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.models.factorisation.als import ALSModel
from recsys.models.popularity.popularity import PopularityModel
from recsys.models.protocol import Model
from recsys.models.registry import MODELS
from recsys.models.repurchase.repeat import RepeatModel
from recsys.models.scoring.neighbours import NeighbourModel
from recsys.models.sessions.session import SessionModel
from recsys.store.sqlite import SQLiteStore
from tests.benchmarks.made_data import made_data

SEARCH_TERMS = ("mug", "blue mug", "lamp", "red lamp", "card holder", "wooden box", "candle", "tin")
WORDS = 3_000
"""Different words of titles; the n-th is used as often as 1 / (n + 20)."""
FAST_FITS = {
    "als": {"epochs": 3},
    "hybrid": {"epochs": 1, "embedding_size": 32},
}
"""What is measured is answering: factors that have seen fewer epochs are as wide."""
COUNT_SQL = (
    "WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < ?1 - 1)"
)


@dataclass(frozen=True)
class ShopSize:
    """How large the shop is; `events` is the length of each customer's history in the store."""

    items: int
    customers: int
    events: int = 20
    interactions: int = 1_000_000


def item_id(number: int) -> str:
    """The id of an item by its row."""
    return f"item-{number:07}"


def customer_id(number: int) -> str:
    """The id of a customer."""
    return f"customer-{number:08}"


def publish_fitted(workspace: Path, size: ShopSize, *, version: str = "bench") -> None:
    """Fits every model of the default placements and publishes the bundle."""
    as_of = datetime.now(UTC).replace(microsecond=0)
    learnt = made_data(
        users=size.customers,
        items=size.items,
        interactions=size.interactions,
        as_of=as_of,
        seed=5,
    )
    catalog = made_catalog(size.items)
    learnt = replace(
        learnt,
        catalog=catalog,
        impressions=made_lists(size.items, as_of),
        weighting=Weighting(),
    )
    names = {name for placement in DEFAULT_PLACEMENTS for name in placement.models}
    names |= {name for placement in DEFAULT_PLACEMENTS for name in placement.fallback}
    models = {name: _fitted(name, learnt) for name in sorted(names)}
    publish(workspace, catalog, models, DEFAULT_PLACEMENTS, version=version)


def publish_made(workspace: Path, n_items: int, *, version: str = "bench") -> None:
    """Publishes a bundle whose factors and neighbours are drawn at random.

    For catalogues that would take long to learn; the work of an answer depends on the sizes alone.
    """
    rng = np.random.default_rng(7)
    models: dict[str, Model] = {
        "als": ALSModel.of(made_factors(n_items, 64, rng), alpha=1.0, reg=5.0),
        "random_walk": made_neighbours(n_items, 30, rng),
        "item_item": made_neighbours(n_items, 30, rng),
        "session": SessionModel(made_neighbours(n_items, 30, rng), np.array([0.8], np.float32)),
        "repeat": RepeatModel(n_items, 90.0),
        "popularity": PopularityModel.of((1.0 / (np.arange(n_items) + 10.0)).astype(np.float32)),
    }
    placements = (
        Placement(
            name="for_you",
            blend={"session": 0.3, "repeat": 0.2, "random_walk": 0.2, "als": 0.3},
            fallback=("popularity",),
        ),
        Placement(name="similar", blend={"item_item": 1.0}, fallback=("popularity",)),
        Placement(name="trending", blend={"popularity": 1.0}, fallback=("popularity",)),
        Placement(name="bought_together", blend={"item_item": 1.0}, fallback=("popularity",)),
        Placement(
            name="rerank",
            blend={"random_walk": 0.5, "als": 0.5, "repeat": 0.3, "popularity": 0.4},
            fallback=(),
        ),
    )
    publish(workspace, made_catalog(n_items), models, placements, version=version)


def publish(
    workspace: Path,
    catalog: Catalog,
    models: dict[str, Model],
    placements: Sequence[Placement],
    *,
    version: str,
) -> None:
    """Writes the bundle and the pointer to it."""
    now = datetime.now(UTC).replace(microsecond=0)
    bundle = Bundle(
        manifest=Manifest(
            model_version=version,
            as_of=now,
            window_from=now - timedelta(days=90),
            config_digest="bench",
            code_revision="bench",
            synthetic=True,
        ),
        items=catalog.vocabulary,
        catalog=catalog,
        models=models,
        placements={placement.name: placement for placement in placements},
        weighting=Weighting(),
    )
    root = workspace / "published"
    directory = bundle_directory(root, version)
    shutil.rmtree(directory, ignore_errors=True)
    save_bundle(bundle, directory)
    champion = Variant(name="champion", model_version=version)
    write_publication(root, Publication(variants=[champion]))


def fill_store(path: Path, size: ShopSize) -> None:
    """A store with consent and `events` rows of history for every customer, one each two hours;
    the newest four are of the session `visit`."""
    SQLiteStore(path).close()
    now = datetime.now(UTC).timestamp()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    with connection:
        connection.execute(
            f"{COUNT_SQL} INSERT INTO profiles (person, personalization, analytics, consent_time) "
            "SELECT format('u:customer-%08d', n), 1, 1, ?2 FROM counted",
            (size.customers, now - 90 * 86400),
        )
        connection.execute(
            f"{COUNT_SQL} INSERT INTO interactions "
            "(person, lane, time, seq, position, item_id, kind, session_id) "
            "SELECT format('u:customer-%08d', n / ?2), 0, ?3 - (?2 - n % ?2) * 7200.0, n, 0, "
            # Two numbers in [0, 1) by multiplication; their product favours low item numbers.
            "format('item-%07d', ?4 * (n * 2654435761 % 65536) / 65536 * (n * 40503 % 65536) "
            "/ 65536), "
            "CASE n % 4 WHEN 3 THEN 'purchase' WHEN 2 THEN 'add_to_cart' ELSE 'view_item' END, "
            "CASE WHEN n % ?2 >= ?2 - 4 THEN 'visit' END FROM counted",
            (size.customers * size.events, size.events, now, size.items),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def made_catalog(n_items: int) -> Catalog:
    """Items with everything that a shop tells of them."""
    rng = np.random.default_rng(3)
    chances = 1.0 / (np.arange(WORDS) + 20.0)
    title_terms = rng.choice(WORDS, (n_items, 4), p=chances / chances.sum())
    prices = np.exp(rng.normal(2.5, 0.8, n_items)).round(2)
    items = [
        Item(
            item_id=item_id(number),
            title=" ".join(f"word{word}" for word in title_terms[number].tolist()),
            category=[f"Room {number % 7}", f"Shelf {number % 70}"],
            brand=f"Brand {number % 211}",
            price=float(prices[number]),
            stock=float(number % 50),
        )
        for number in range(n_items)
    ]
    return Catalog.of(items, Vocabulary([item.item_id for item in items]))


def made_factors(n_items: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Item factors in clusters, as tastes are: 256 centres and a spread around them."""
    centres = rng.normal(0.0, 0.1, (256, size))
    of_item = rng.integers(0, len(centres), n_items)
    factors = centres[of_item] + rng.normal(0.0, 0.05, (n_items, size))
    return np.asarray(factors, np.float32)


def made_neighbours(n_items: int, n: int, rng: np.random.Generator) -> NeighbourModel:
    """Every item with n neighbours at random."""
    steps = np.sort(rng.integers(0, n_items, (n_items, n)), axis=1).astype(np.int32)
    weights = rng.random(steps.size).astype(np.float32)
    starts = np.arange(0, steps.size + 1, n, dtype=np.int32)
    matrix = csr_array((weights, steps.ravel(), starts), shape=(n_items, n_items))
    matrix.sum_duplicates()
    return NeighbourModel(matrix, binary=False)


def made_lists(n_items: int, as_of: datetime, *, n_lists: int = 4_000) -> Impressions:
    """Search results of twenty items, the ninth part of them taken."""
    rng = np.random.default_rng(4)
    rows = n_lists * 20
    return Impressions(
        starts=np.arange(0, rows + 1, 20, dtype=np.int64),
        terms=rng.integers(0, len(SEARCH_TERMS), n_lists).astype(np.int32),
        users=rng.integers(0, 1000, n_lists).astype(np.int32),
        visits=np.arange(n_lists, dtype=np.int64),
        times=np.sort(as_of.timestamp() - rng.uniform(0, 30 * 86400, n_lists)),
        items=rng.integers(0, n_items, rows).astype(np.int32),
        positions=np.tile(np.arange(20, dtype=np.int32), n_lists),
        outcomes=(rng.random(rows) < 1 / 9).astype(np.int8),
        term_names=Vocabulary(SEARCH_TERMS),
    )


def _fitted(name: str, learnt: TrainingData) -> Model:
    family = MODELS[name]
    config = family.config.model_validate(FAST_FITS.get(name, {}))
    return family.fit(learnt, config, rng=np.random.default_rng(3))
