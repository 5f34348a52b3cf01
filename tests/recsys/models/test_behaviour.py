"""What a shopkeeper expects of every model that knows a person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData
from recsys.models.registry import MODELS
from recsys.query.query import Query

Reader = Callable[..., TrainingData]
SETTINGS = {"als": {"embedding_size": 3, "reg": 0.1}, "hybrid": {"embedding_size": 4, "epochs": 40}}


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    """Photographers buy camera, then lens and tripod; cooks buy pans and knives; all buy soap."""
    kits = {"photo": ("camera", "lens", "tripod"), "cook": ("pan", "knife", "pot")}
    return read(
        [
            (f"{kind}{person:02}", 30.0 - day, [item])
            for kind, kit in kits.items()
            for person in range(20)
            for day, item in enumerate([*kit, "soap"])
            if (person + day) % 4
        ]
    )


@pytest.mark.parametrize("name", ["random_walk", "item_item", "als", "hybrid"])
def test_buying_a_camera_raises_lenses(name: str, shop: TrainingData) -> None:
    family = MODELS[name]
    config = family.config.model_validate(SETTINGS.get(name, {}))
    model = family.fit(shop, config, rng=np.random.default_rng(0))
    cook = shop.history(shop.users.numbers(["u:cook03"])[0], now=shop.as_of)
    photographer = shop.history(shop.users.numbers(["u:photo03"])[0], now=shop.as_of)
    bought = photographer.items == shop.items.number("camera")
    camera = type(cook)(
        photographer.items[bought],
        photographer.kinds[bought],
        photographer.times[bought],
        photographer.weights[bought],
    )
    both = type(cook)(
        np.concatenate([cook.items, camera.items]),
        np.concatenate([cook.kinds, camera.kinds]),
        np.concatenate([cook.times, camera.times]),
        np.concatenate([cook.weights, camera.weights]),
    )
    asked = shop.items.numbers(["lens", "knife"])
    scores = model.condition(
        [Query(now=shop.as_of, history=history) for history in (cook, both, camera)]
    ).score([asked] * 3)
    lead = [float(np.nan_to_num(lens) - np.nan_to_num(knife)) for lens, knife in scores]
    assert lead[0] < lead[1] < lead[2]
    assert lead[0] < 0 < lead[2]
