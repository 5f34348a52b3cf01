"""The configuration of training: one YAML file, every key checked, no key unknown."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recsys.data_checks import CheckRules
from recsys.errors import InvalidConfig
from recsys.evaluation import EvaluationRules
from recsys.models import MODELS
from recsys.placements import DEFAULT_PLACEMENTS, Placement
from recsys.weighting import Weighting
from training.datasets import ImportOptions
from training.gate import GateRules

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BlendSearch(_Section):
    """How a blend's weights are chosen on the validation periods: coordinate ascent.

    The objective is the mean over periods of `ndcg + recall` at the list length, of all items and,
    with `new_items_share`, of items that are new to the customer.
    """

    placements: tuple[str, ...] = ("for_you",)
    sweeps: int = Field(default=6, ge=0)
    sample: int = Field(default=3000, ge=10)
    new_items_share: float = Field(default=0.5, ge=0, le=1)


class Split(_Section):
    """Which days are held out. `test_from` fixes the cut; else the last `test_days` are held out.

    Before the cut lie `validations` periods of `validation_days` each, on which blends are chosen.
    """

    test_from: datetime | None = None
    test_days: float = Field(default=28.0, gt=0)
    validation_days: float = Field(default=28.0, gt=0)
    validations: int = Field(default=1, ge=1, le=6)

    @field_validator("test_from")
    @classmethod
    def _has_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("give the time with a zone, such as 2011-11-10T00:00:00Z")
        return value


def _every_family() -> dict[str, dict[str, Any]]:
    return {name: {} for name in MODELS}


class Recipe(_Section):
    """All that decides what a model is: the gate compares recipes, not files."""

    seed: int = Field(default=7, ge=0)
    window_days: float = Field(default=730.0, gt=0)
    weighting: Weighting = Weighting()
    models: dict[str, dict[str, Any]] = Field(default_factory=_every_family)
    placements: tuple[Placement, ...] = DEFAULT_PLACEMENTS
    blend_search: BlendSearch = BlendSearch()

    @field_validator("models")
    @classmethod
    def _families_exist(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, settings in models.items():
            family = MODELS.get(name)
            if family is None:
                raise ValueError(f"there is no model {name!r}; use one of {', '.join(MODELS)}")
            family.config.model_validate(settings)
        return models

    @model_validator(mode="after")
    def _blends_have_their_models(self) -> Recipe:
        for placement in self.placements:
            for name in placement.models:
                if name not in self.models:
                    raise ValueError(
                        f"placement {placement.name!r} uses the model {name!r}, which is not "
                        "under `models`; add it there or take it out of the blend"
                    )
        return self

    def digest(self) -> str:
        """A short fingerprint: the same recipe has the same digest."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class TrainingConfig(_Section):
    """One shop's nightly training."""

    workspace: Path = Path(".recsys")
    recipe: Recipe = Recipe()
    split: Split = Split()
    evaluation: EvaluationRules = EvaluationRules()
    gate: GateRules = GateRules()
    checks: CheckRules = CheckRules()
    imports: ImportOptions = ImportOptions()
    keep_bundles: int = Field(default=3, ge=1)


def load_config(path: Path) -> TrainingConfig:
    """The configuration in a YAML file; InvalidConfig names key, value and remedy."""
    return read_yaml(path, TrainingConfig)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """A YAML file as one pydantic class; InvalidConfig names the first bad key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InvalidConfig(
            "--config", str(path), f"it cannot be read: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidConfig("--config", str(path), f"it is not valid YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(f"{path}: {key or 'file'}", first["input"], first["msg"]) from error
