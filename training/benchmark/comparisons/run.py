"""Comparisons beyond the published protocols: carts, reranked lists, cold items, cold customers.

On the later purchases of UCI Online Retail, and on the synthetic shop, whose relevance is known.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import anonymised
from recsys.events.weighting import Weighting
from recsys.synthetic import ShopConfig, make_shop, simulate
from training.benchmark.comparisons import bought_together, cold_start, rerank
from training.benchmark.comparisons.rows import ComparisonRow
from training.benchmark.purchases import import_source
from training.config import Recipe
from training.datasets import DataFile, ImportOptions
from training.progress import Steps
from training.workspace import Workspace

CUT: Final = datetime(2011, 11, 10, tzinfo=UTC)
UNTIL: Final = datetime(2011, 12, 10, tzinfo=UTC)
SHOP: Final = ShopConfig(customers=600, items=500, days=60)
PURCHASES: Final = Weighting(kind_weights={"purchase": 1.0}, half_life_days=60.0)

EVERY_BASKET: Final = ImportOptions(protocol="shop", consent="assumed")
"""Anonymous baskets as well: they need no customer."""


def extra_comparisons(
    retail: Path, *, seed: int, at: datetime, steps: Steps, shop: ShopConfig = SHOP
) -> list[ComparisonRow]:
    """The rows of all comparisons; those on the purchases only where their file is there."""
    compared: list[ComparisonRow] = []
    with threadpool_limits(1, "blas"):
        if retail.is_file():
            compared += _on_purchases(retail, seed=seed, at=at, steps=steps)
        with steps.step("search results, synthetic shop"):
            compared += _on_synthetic_shop(shop, seed)
    return compared


def _on_purchases(retail: Path, *, seed: int, at: datetime, steps: Steps) -> list[ComparisonRow]:
    recipe = Recipe(weighting=PURCHASES)
    compared: list[ComparisonRow] = []
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
        with steps.step("import"):
            file = DataFile(retail, "unknown")
            source = import_source(file, EVERY_BASKET, Workspace(Path(root)), at=at)

        def as_of(moment: datetime) -> TrainingData:
            return source.as_of(moment, recipe)

        for name, rows_of in (
            ("bought together", bought_together.rows),
            ("search results, title words", rerank.title_rows),
            ("cold items and customers", cold_start.rows),
        ):
            with steps.step(name):
                compared += rows_of(as_of, CUT, UNTIL, recipe=recipe, seed=seed)
    return compared


def _on_synthetic_shop(config: ShopConfig, seed: int) -> list[ComparisonRow]:
    """Reranking on a shop that was simulated for its whole time."""
    rng = np.random.default_rng(seed)
    shop = make_shop(config, rng=rng)
    profiles = {p.person.key: p for p in shop.profiles if p.person.key is not None}
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
        log = EventLog(Path(root))
        events = [
            event if event.personalization else anonymised(event)
            for batch in simulate(shop, days=config.days, rng=rng)
            for event in batch
        ]
        log.append(rows(events), part="history")

        def as_of(moment: datetime) -> TrainingData:
            return read_training_data(
                log, as_of=moment, weighting=Weighting(), catalog=shop.items, profiles=profiles
            )

        end = config.opening + timedelta(days=config.days)
        return rerank.shop_rows(shop, as_of, end, recipe=Recipe(), seed=seed)
