"""The configuration of training: one YAML file, every key checked, no key unknown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement, served_by
from recsys.bundle.shop_settings import PlacementsConfig, SegmentsConfig, changed
from recsys.bundle.social_proof import SocialProofConfig
from recsys.errors import InvalidConfig
from recsys.evaluation.objectives import Objective, primary_measure
from recsys.evaluation.report import EvaluationRules
from recsys.events.checks import CheckRules
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS, config_of, family_of
from recsys.query.segments import Segment
from training.datasets import ImportOptions

Model = TypeVar("Model", bound=BaseModel)


class ConfigSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BlendSearch(ConfigSection):
    """How a blend's weights are chosen on the validation periods: coordinate ascent.

    The objective is the geometric mean over periods of `ndcg + recall` at the list length, of all
    items and, to the power of `new_items_share`, of items that are new to the customer.
    """

    placements: tuple[str, ...] = ("for_you",)
    """Placements whose blend is chosen; the others keep their weights."""
    sweeps: int = Field(default=6, ge=0)
    """Passes over the models; 0 keeps the weights of the recipe."""
    sample: int = Field(default=3000, ge=10)
    """At most so many customers per validation period."""
    new_items_share: float = Field(default=0.5, ge=0, le=1)
    """Exponent of the measures of items that are new to the customer."""
    lists: bool = True
    """Whether the weights of reranking are learnt from the searches of the newest period."""


class Split(ConfigSection):
    """Which days are held out. `test_from` fixes the cut; else the last `test_days` are held out.

    Before the cut lie `validations` periods of `validation_days` each, on which blends are chosen.
    """

    test_from: datetime | None = None
    """First moment that is held out; null holds out the last `test_days`."""
    test_days: float = Field(default=28.0, gt=0)
    """Days that are held out to measure on."""
    validation_days: float = Field(default=28.0, gt=0)
    """Days of a validation period."""
    validations: int = Field(default=1, ge=1, le=6)
    """How many validation periods lie before the test."""

    @field_validator("test_from")
    @classmethod
    def _has_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("give the time with a zone, such as 2011-11-10T00:00:00Z")
        return value


def _every_family() -> dict[str, dict[str, Any]]:
    return {name: {} for name in MODELS}


class RankerConfig(ConfigSection):
    """How the ranker is fitted: LambdaMART on what customers chose in earlier periods.

    The models are fitted anew before each period. The ranker serves only where it beats the blend
    on the newest validation period, which it is not fitted on then.
    """

    placements: tuple[str, ...] = ("for_you",)
    """Placements that get a ranker where it beats their blend."""
    candidates: int = Field(default=150, ge=20, le=2000)
    """How many of the blend's best candidates it orders."""
    lesson_candidates: int = Field(default=300, ge=20, le=5000)
    """Candidates per customer in its training sets; more than it orders make it better."""
    periods: int = Field(default=4, ge=1, le=40)
    """How many earlier periods it learns from."""
    period_days: float = Field(default=28.0, gt=0)
    """How long customers are watched after a cut."""
    stride_days: float = Field(default=28.0, gt=0)
    """From one cut to the next; below `period_days` the periods overlap: more training data."""
    least_days: float = Field(default=28.0, gt=0)
    """A cut needs so many days of events before it."""
    customers: int = Field(default=3000, ge=20)
    """At most so many per period."""
    negatives: float = Field(default=0.15, gt=0, le=1)
    """Share of the candidates that were not chosen that is kept."""
    bulk_discount: float = Field(default=0.0, ge=0, le=1)
    """A customer who took n items weighs n^−bulk_discount per candidate."""
    losses: tuple[Literal["lambdarank", "rank_xendcg"], ...] = Field(
        default=("lambdarank", "rank_xendcg"), min_length=1
    )
    """A boosted model for each; their scores are summed at equal spread."""
    truncation: int = Field(default=30, ge=1)
    """LightGBM's `lambdarank_truncation_level`: positions that count in its loss."""
    trees: int = Field(default=100, ge=1, le=2000)
    """Trees of each booster."""
    leaves: int = Field(default=31, ge=2, le=255)
    """Leaves of a tree."""
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    """Shrinkage of each tree."""
    least_rows: int = Field(default=200, ge=1)
    """Candidates in a leaf."""
    reg: float = Field(default=5.0, ge=0)
    """L2 penalty of leaf values."""
    column_share: float = Field(default=0.6, gt=0, le=1)
    """Share of the features that a tree sees."""
    row_share: float = Field(default=0.8, gt=0, le=1)
    """Share of the rows that a tree sees."""


class Recipe(ConfigSection):
    """All that decides what a model is: the gate compares recipes, not files."""

    seed: int = Field(default=7, ge=0)
    """The same seed, events and settings give the same arrays."""
    objective: Objective = "conversions"
    """What the shop wants more of: blends, search and gate maximise it."""
    window_days: float = Field(default=730.0, gt=0)
    """Events older than this are not learnt from."""
    weighting: Weighting = Weighting()
    """How much an event says, by kind and age."""
    models: dict[str, dict[str, Any]] = Field(default_factory=_every_family)
    """Model → the settings of its family. A family of the shop's own is named by its dotted path
    beside them: `my_sales: {family: "my_shop.my_sales:FAMILY"}` (`recsys.models.registry`)."""
    placements: tuple[Placement, ...] = DEFAULT_PLACEMENTS
    """What a place on a page shows; or the path of a file such as `configs/placements.yaml`."""
    blend_search: BlendSearch = BlendSearch()
    """How the weights of blends are chosen on validation days."""
    ranker: RankerConfig | None = None
    """A second stage over the blend's best candidates; null for none."""
    social_proof: SocialProofConfig = SocialProofConfig()
    """What a bundle counts of each item, to be said to everybody."""
    customer_rows: bool = False
    """Whether a published bundle may hold models that store rows of customers or visits (`up_cf`,
    `tifu_knn`, `session_knn`): a shop says yes to that, nobody else. The rows have no ids, those of
    erased customers are dropped when the service loads them, and they never enter MLflow."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The rules of the segments that its bundles know."""
        rules = self.models.get("popularity_by_segment", {}).get("segments", ())
        return tuple(Segment.model_validate(rule) for rule in rules)

    @model_validator(mode="before")
    @classmethod
    def _default_placements_of(cls, values: Any) -> Any:
        """Where a recipe names no placements, those of the default that its models can serve."""
        if not isinstance(values, Mapping) or "placements" in values:
            return values
        models = values.get("models", MODELS)
        if not isinstance(models, Mapping):
            return values
        return {**values, "placements": tuple(served_by(DEFAULT_PLACEMENTS, models))}

    @field_validator("models")
    @classmethod
    def _families_exist(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, settings in models.items():
            try:
                config_of(name, settings)
            except InvalidConfig as error:
                raise ValueError(str(error)) from error
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


class Retention(ConfigSection):
    """How long the store keeps what is not erased before; the nightly run prunes it."""

    answers_days: float = Field(default=180.0, ge=1)
    """Days in which the outcome of a list that was shown can be asked for."""
    event_ids_days: float = Field(default=45.0, ge=32)
    """Days in which an event id that comes again is known; more than the service's
    `tolerance_past_days`."""


class GateRules(BaseModel):
    """What a candidate must show on the held-out days.

    The same recipe on fresher data, and a changed recipe that a person has configured, must not be
    worse on `primary` than the champion's by more than `margin` of its value, nor below a baseline:
    they need not prove themselves anew every night, or a small shop's champion would grow old. A
    recipe that a program has chosen must be better than the champion's and than the `baselines`:
    the paired intervals lie above zero. None of the `guards` may fall by more than `guard_margin`
    of its value with certainty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary: str = "ndcg_at_20"
    """The measure to win by; where it is not set, that of the recipe's objective."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """How much worse the same recipe on fresher data, or one that was asked for, may be, as a share
    of the champion's value."""
    baselines: tuple[str, ...] = ("popularity", "popularity_30_days", "personal_frequency")
    """Baselines that must be beaten."""
    guards: tuple[str, ...] = ("recall_at_20", "new_items/recall_at_20")
    """Measures that must not fall."""
    guard_margin: float = Field(default=0.05, ge=0, lt=1)
    """How far a guard may fall, as a share of its value."""
    resamples: int = Field(default=2000, ge=100)
    """Resamples of the bootstrap behind the paired intervals."""


class SearchRules(BaseModel):
    """Limits and scope of `recsys search`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minutes: float = Field(default=20.0, gt=0)
    """How long it may take in all, the last measurement included."""
    validations: int = Field(default=3, ge=1, le=6)
    """How many validation periods before the test at least; the winning configuration has as
    many."""
    families: tuple[str, ...] | None = None
    """Which model families may be in the blend; None tries all."""
    customer_rows: bool = False
    """Whether families may be added that store customers or visits."""
    trials: int = Field(default=12, ge=1)
    """Trials of a family in a round."""
    rounds: int = Field(default=6, ge=1)
    """How many times each family has a turn."""
    ranker: bool = True
    """Whether the second stage is tried; it serves only where validation proves it better."""

    @field_validator("families")
    @classmethod
    def _families_exist(cls, families: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in families or ():
            try:
                family_of(name)
            except InvalidConfig as error:
                raise ValueError(str(error)) from error
        return families


class TrainingConfig(ConfigSection):
    """One shop's nightly training."""

    workspace: Path = Path(".recsys")
    """Directory of store, event log, MLflow and bundles."""
    recipe: Recipe = Recipe()
    """All that decides what a model is."""
    split: Split = Split()
    """Which days are held out."""
    evaluation: EvaluationRules = EvaluationRules()
    """How a recipe is measured."""
    gate: GateRules = GateRules()
    """What a candidate must show to be published."""
    search: SearchRules = SearchRules()
    """How `recsys search` spends its time."""
    checks: CheckRules = CheckRules()
    """Thresholds of the data checks before training."""
    imports: ImportOptions = ImportOptions()
    """How `recsys nightly --data` imports its files."""
    retention: Retention = Retention()
    """How long logged answers and event ids are kept."""
    keep_bundles: int = Field(default=3, ge=1)
    """Published versions that stay on disk for rollback."""

    def gate_rules(self) -> GateRules:
        """The gate's rules; where they name no primary measure, it is that of the objective."""
        if "primary" in self.gate.model_fields_set:
            return self.gate
        primary = primary_measure(self.recipe.objective, n=self.evaluation.n)
        return self.gate.model_copy(update={"primary": primary})


def load_config(path: Path) -> TrainingConfig:
    """The configuration in a YAML file, with the files that its recipe names in place of them.

    InvalidConfig names key, value and remedy.
    """
    return read_yaml(path, TrainingConfig, prepare=_with_shop_files)


def overridden(
    config: TrainingConfig,
    *,
    minutes: float | None = None,
    test_from: datetime | None = None,
    objective: str | None = None,
) -> TrainingConfig:
    """The configuration with values of the command line; None leaves a value as it is."""
    values = config.model_dump(exclude_unset=True)
    if minutes is not None:
        values.setdefault("search", {})["minutes"] = minutes
    if test_from is not None:
        moment = test_from if test_from.tzinfo is not None else test_from.replace(tzinfo=UTC)
        values.setdefault("split", {})["test_from"] = moment
    if objective is not None:
        values.setdefault("recipe", {})["objective"] = objective
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(f"command line: {key}", first["input"], first["msg"]) from error


def read_yaml(
    path: Path, model: type[Model], *, prepare: Callable[[Any], Any] | None = None
) -> Model:
    """A YAML file as one pydantic class; InvalidConfig names the first bad key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InvalidConfig(
            "--config", str(path), f"it cannot be read: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidConfig("--config", str(path), f"it is not valid YAML: {error}") from error
    if prepare is not None:
        content = prepare(content)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        refusal = getattr(first.get("ctx", {}).get("error"), "__cause__", None)
        if isinstance(refusal, InvalidConfig):
            raise InvalidConfig(
                f"{path}: {refusal.field}", refusal.value, refusal.remedy
            ) from error
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(f"{path}: {key or 'file'}", first["input"], first["msg"]) from error


def _with_shop_files(content: Any) -> Any:
    """`recipe.placements` and `popularity_by_segment.segments` may be the paths of files, as the
    service takes them; their content is put in their place."""
    recipe = content.get("recipe") if isinstance(content, dict) else None
    if not isinstance(recipe, dict):
        return content
    recipe = dict(recipe)
    models = recipe.get("models", _every_family())
    if isinstance(recipe.get("placements"), str):
        changes = read_yaml(Path(recipe["placements"]), PlacementsConfig).placements
        defaults = {
            placement.name: placement for placement in served_by(DEFAULT_PLACEMENTS, models)
        }
        placements, refused = changed(defaults, changes, models)
        if refused:
            raise InvalidConfig("recipe.placements", recipe["placements"], refused[0])
        recipe["placements"] = tuple(placements.values())
    by_segment = models.get("popularity_by_segment") if isinstance(models, dict) else None
    if isinstance(by_segment, dict) and isinstance(by_segment.get("segments"), str):
        segments = read_yaml(Path(by_segment["segments"]), SegmentsConfig)
        rules = [
            segment.model_dump(mode="json", exclude_unset=True) for segment in segments.segments
        ]
        recipe["models"] = {
            **models,
            "popularity_by_segment": {**by_segment, "segments": rules},
        }
    return {**content, "recipe": recipe}
