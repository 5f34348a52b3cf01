"""What the published protocols leave out: carts, reranked lists, cold items and cold customers.

On the later purchases of UCI Online Retail, and on the synthetic shop, whose relevance is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.evaluation.intervals import Estimate
from recsys.events.log import EventLog, rows
from recsys.events.schema import anonymised
from recsys.events.weighting import Weighting
from recsys.synthetic import ShopConfig, make_shop, simulate
from training.benchmark.comparisons import bought_together, cold_start, rerank
from training.benchmark.comparisons.rows import Row
from training.benchmark.purchases import imported
from training.config import Recipe
from training.datasets import DataFile, ImportOptions
from training.progress import Steps
from training.workspace import Workspace

CUT: Final = datetime(2011, 11, 10, tzinfo=UTC)
UNTIL: Final = datetime(2011, 12, 10, tzinfo=UTC)
SHOP: Final = ShopConfig(customers=600, items=500, days=60)
OF_PURCHASES: Final = Weighting(kind_weights={"purchase": 1.0}, half_life_days=60.0)

EVERY_BASKET: Final = ImportOptions(protocol="shop", consent="assumed")
"""Also those of nobody known: a basket needs no customer."""


def beside(
    retail: Path, *, seed: int, at: datetime, steps: Steps, shop: ShopConfig = SHOP
) -> list[Row]:
    """The rows of all comparisons; those on the purchases only where their file is there."""
    found: list[Row] = []
    with threadpool_limits(1, "blas"):
        if retail.is_file():
            recipe = Recipe(weighting=OF_PURCHASES)
            with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
                with steps.step("import"):
                    source = imported(
                        DataFile(retail, "unknown"), EVERY_BASKET, Workspace(Path(root)), at=at
                    )

                def as_of(moment: datetime) -> TrainingData:
                    return source.as_of(moment, recipe)

                with steps.step("bought together"):
                    found += bought_together.rows(as_of, CUT, UNTIL, recipe=recipe, seed=seed)
                with steps.step("search results, title words"):
                    found += rerank.title_rows(as_of, CUT, UNTIL, recipe=recipe, seed=seed)
                with steps.step("cold items and customers"):
                    found += cold_start.rows(as_of, CUT, UNTIL, recipe=recipe, seed=seed)
        with steps.step("search results, synthetic shop"):
            found += _searched(shop, seed)
    return found


def beside_as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain values; `above` is how far ours is above the method, paired, with its 95% interval."""
    return [
        {
            "protocol": row.protocol,
            "method": row.method,
            "metrics": {name: _told(estimate) for name, estimate in row.metrics.items()},
            "above": {name: _told(estimate) for name, estimate in row.above.items()},
        }
        for row in found
    ]


def _told(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def _searched(config: ShopConfig, seed: int) -> list[Row]:
    """Reranking on a shop that was simulated for its whole time."""
    rng = np.random.default_rng(seed)
    shop = make_shop(config, rng=rng)
    profiles = {one.person.key: one for one in shop.profiles if one.person.key is not None}
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
