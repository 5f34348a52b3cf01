"""Recipes that name the files of the service, and what a bundle knows of newcomers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from recsys.bundle.placements import DEFAULT_PLACEMENTS
from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidConfig
from recsys.events.weighting import SECONDS_PER_DAY
from training.config import Recipe, TrainingConfig, load_config
from training.fitting.build import SETTLING_DAYS, families_needed, first_seen

MODELS = {"popularity": {}, "repeat": {}, "refill": {}, "popularity_by_segment": {}}


def written(folder: Path, content: object, name: str = "training.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_recipe_without_placements_gets_those_that_its_models_serve() -> None:
    recipe = Recipe.model_validate({"models": MODELS})
    served = {placement.name: placement for placement in recipe.placements}
    assert set(served) == {"for_you", "buy_again", "popular_in_segment", "rerank"}
    assert set(served["for_you"].blend) == {"repeat", "popularity"}
    assert {placement.name for placement in Recipe().placements} == {
        placement.name for placement in DEFAULT_PLACEMENTS
    }
    assert "refill" in families_needed([served["for_you"]], recipe)


def test_a_recipe_may_name_the_files_that_the_service_takes(tmp_path: Path) -> None:
    placements = {"placements": [{"name": "for_you", "fatigue": {"times": 4}},
                                 {"name": "winners", "blend": {"popularity": 1.0}}]}  # fmt: skip
    segments = {"segments": [{"name": "trade", "customer_group": ["trade"]}]}
    settings = {"segments": str(written(tmp_path, segments, "segments.yaml"))}
    recipe = {
        "models": {**MODELS, "popularity_by_segment": settings},
        "placements": str(written(tmp_path, placements, "placements.yaml")),
    }
    read = load_config(written(tmp_path, {"recipe": recipe})).recipe
    by_name = {placement.name: placement for placement in read.placements}
    assert by_name["for_you"].fatigue is not None
    assert by_name["winners"].blend == {"popularity": 1.0}
    rules = read.models["popularity_by_segment"]["segments"]
    assert [rule["name"] for rule in rules] == ["trade"]
    again = TrainingConfig.model_validate({"recipe": read.model_dump(mode="json")}).recipe
    assert again.digest() == read.digest()


def test_a_placement_that_the_recipe_cannot_serve_is_refused(tmp_path: Path) -> None:
    placements = written(tmp_path, {"placements": [{"name": "similar"}]}, "placements.yaml")
    recipe = {"models": MODELS, "placements": str(placements)}
    with pytest.raises(InvalidConfig, match="none of its models"):
        load_config(written(tmp_path, {"recipe": recipe}))


def test_what_the_log_begins_with_is_old_and_what_nobody_touched_is_unknown(
    small_data: TrainingData,
) -> None:
    seen = first_seen(small_data)
    days = small_data.popularity.days
    begins = days.min() + SETTLING_DAYS * SECONDS_PER_DAY
    touched = np.isin(np.arange(len(small_data.items)), small_data.popularity.items)
    np.testing.assert_array_equal(np.isnan(seen), ~touched)
    dated = np.isfinite(seen)
    assert dated.any()
    assert (seen[dated] >= begins).all()
    for item in np.flatnonzero(dated)[:20].tolist():
        assert seen[item] == days[small_data.popularity.items == item].min()
    assert np.isneginf(seen).any()
