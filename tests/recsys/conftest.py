"""A bundle with every model family, fitted once on the small synthetic shop."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from recsys.bundle import Bundle, Manifest
from recsys.models import MODELS
from recsys.placements import DEFAULT_PLACEMENTS
from recsys.training_data import TrainingData
from recsys.weighting import Weighting


@pytest.fixture(scope="session")
def bundle(small_data: TrainingData) -> Bundle:
    """Every family with its default settings, every default placement."""
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
