"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from built_once import built_once, bundle_built_once

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import DEFAULT_PLACEMENTS
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import anonymised
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS
from recsys.synthetic import ShopConfig, SyntheticShop, make_shop, simulate

ROOT = Path(__file__).resolve().parent.parent

# The suite starts many processes that import the same modules: they are compiled once, also where
# the environment asks Python to keep nothing of it.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets; the test is skipped where it is not there."""
    folder = Path(os.environ.get("RECSYS_SHARED_DATA", ROOT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public data sets are not at {folder}; set RECSYS_SHARED_DATA")
    return folder.resolve()


@dataclass(frozen=True)
class SmallShop:
    """A small synthetic shop with its history in an event log."""

    shop: SyntheticShop
    log: EventLog
    end: datetime

    def as_of(self, moment: datetime) -> TrainingData:
        """What may be learnt at that moment."""
        return read_training_data(
            self.log,
            as_of=moment,
            weighting=Weighting(),
            catalog=self.shop.items,
            profiles={p.person.key: p for p in self.shop.profiles if p.person.key is not None},
        )


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    """200 customers, 150 items, 60 days."""
    rng = np.random.default_rng(11)
    shop = make_shop(ShopConfig(), rng=rng)

    def write_log(path: Path) -> None:
        events = [
            event if event.personalization else anonymised(event)
            for batch in simulate(shop, days=60, rng=rng)
            for event in batch
        ]
        EventLog(path).append(rows(events), part="history")

    log = EventLog(built_once(tmp_path_factory, "small-shop-log", write_log))
    return SmallShop(shop, log, shop.config.opening + timedelta(days=60))


@pytest.fixture(scope="session")
def small_data(small_shop: SmallShop) -> TrainingData:
    """The small shop's training data, ten days before its end."""
    return small_shop.as_of(small_shop.end - timedelta(days=10))


@pytest.fixture(scope="session")
def bundle(small_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Every family with its default settings, every default placement."""
    return bundle_built_once(tmp_path_factory, "small-shop-bundle", lambda: _fitted(small_data))


def _fitted(small_data: TrainingData) -> Bundle:
    models = {
        name: family.fit(small_data, family.config(), rng=np.random.default_rng(3))
        for name, family in MODELS.items()
    }
    return Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=small_data.as_of,
            window_from=small_data.as_of - timedelta(days=50),
            config_digest="c",
            code_revision="r",
            synthetic=True,
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models=models,
        placements={placement.name: placement for placement in DEFAULT_PLACEMENTS},
        weighting=Weighting(),
    )
