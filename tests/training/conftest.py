"""A tiny real bundle, and MLflow on SQLite: set up once, since that takes seconds."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Catalog, Item
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.weighting import Weighting
from recsys.models.popularity.popularity import PopularityModel
from recsys.models.protocol import Model
from recsys.models.scoring.neighbours import NeighbourModel
from recsys.models.user_neighbours.customer_rows import CustomerRows
from recsys.models.user_neighbours.up_cf import UpCfConfig, UpCfModel
from training.tracking import Tracking
from training.workspace import Workspace

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
ITEMS = ("bag", "camera", "lens", "mug", "plate", "tripod")
CUSTOMER = "u:stored"
"""Whom `make_bundle(customers=True)` stores."""
MakeBundle = Callable[..., Path]
Register = Callable[..., str]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """A bundle of six items, by version and options: its directory, written once and never changed.

    A camera leads to a lens, all else to the mug; `loved` is the most popular item; `withdrawn`
    leaves nothing to sell; with `customers` one of them is stored, who bought a camera and a bag.
    """
    root = tmp_path_factory.mktemp("bundles")

    @functools.cache
    def make(
        model_version: str, *, loved: str = "mug", withdrawn: bool = False, customers: bool = False
    ) -> Path:
        bundle = six_items(model_version, loved=loved, withdrawn=withdrawn, customers=customers)
        return save_bundle(bundle, root / uuid.uuid4().hex)

    return make


def six_items(model_version: str, *, loved: str, withdrawn: bool, customers: bool) -> Bundle:
    catalog = Catalog.of([Item(item_id=id, title=id, withdrawn=withdrawn) for id in ITEMS])
    number = catalog.vocabulary.number
    popularity = np.linspace(0.1, 0.6, len(ITEMS), dtype=np.float32)
    popularity[number(loved)] = 1.0
    weights = np.zeros((len(ITEMS), len(ITEMS)), np.float32)
    weights[number("camera"), number("lens")] = 1.0
    weights[number("camera"), number("tripod")] = 0.5
    models: dict[str, Model] = {
        "random_walk": NeighbourModel(csr_array(weights), binary=True),
        "popularity": PopularityModel.of(popularity),
    }
    blend = {"random_walk": 1.0, "popularity": 0.1}
    if customers:
        bought = np.zeros((1, len(ITEMS)), np.float32)
        bought[0, [number("bag"), number("camera")]] = 1.0
        rows = CustomerRows.of(csr_array(bought), csr_array(bought), pseudonyms_of([CUSTOMER]))
        models["up_cf"] = UpCfModel(rows, UpCfConfig())
        blend["up_cf"] = 5.0
    return Bundle(
        manifest=Manifest(
            model_version=model_version,
            as_of=AS_OF,
            window_from=AS_OF,
            config_digest="c0ffee",
            code_revision="abc",
        ),
        items=catalog.vocabulary,
        catalog=catalog,
        models=models,
        placements={
            "for_you": Placement(
                name="for_you",
                blend=blend,
                fallback=("popularity",),
                repeats="exclude_history",
            ),
            "similar": Placement(
                name="similar", blend={"random_walk": 1.0}, fallback=("popularity",)
            ),
        },
        weighting=Weighting(),
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them, to be copied."""
    folder = tmp_path_factory.mktemp("mlflow")
    path = folder / "empty.sqlite"
    Tracking(uri=f"sqlite:///{path}", artifacts=folder / "files", experiment="set-up")
    return path


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path) -> Workspace:
    """A workspace for this test alone, whose MLflow is set up and empty."""
    workspace = Workspace(tmp_path / "workspace").create()
    shutil.copy(empty_database, workspace.mlflow_database)
    return workspace


@pytest.fixture
def tracking(workspace: Workspace) -> Tracking:
    """The tracking of that workspace."""
    return Tracking.of(workspace)


@pytest.fixture
def register(tracking: Tracking, make_bundle: MakeBundle) -> Register:
    """Makes a run with a bundle of that version and registers it; gives the registry's number."""
    return functools.partial(register_bundle, tracking, make_bundle)


def register_bundle(
    tracking: Tracking, make_bundle: MakeBundle, model_version: str, **options: object
) -> str:
    with tracking.run("nightly", params={}, tags={}) as run:
        run.log_metrics({"ndcg_at_20": 0.25})
        run.log_dict({"seed": 7}, "recipe.json")
        run.log_bundle(make_bundle(model_version, **options))
        return tracking.register(run, tags={"recipe_digest": "c0ffee"})


@dataclass(frozen=True)
class Registry:
    """A workspace whose registry has versions; nothing is promoted or served yet."""

    workspace: Workspace
    tracking: Tracking
    number: Mapping[str, str]
    """Model version → number in the registry."""

    @property
    def root(self) -> Path:
        return self.workspace.published


@pytest.fixture(scope="session")
def registered(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, make_bundle: MakeBundle
) -> Registry:
    """night-1 to night-4, `empty` with nothing to sell, `rows-1` and `rows-2` with a customer."""
    workspace = Workspace(tmp_path_factory.mktemp("registered") / "workspace").create()
    shutil.copy(empty_database, workspace.mlflow_database)
    tracking = Tracking.of(workspace)
    options: dict[str, dict[str, bool]] = {f"night-{n}": {} for n in (1, 2, 3, 4)}
    options |= {"empty": {"withdrawn": True}}
    options |= {f"rows-{n}": {"customers": True} for n in (1, 2)}
    numbers = {
        name: register_bundle(tracking, make_bundle, name, **chosen)
        for name, chosen in options.items()
    }
    return Registry(workspace, tracking, numbers)


@pytest.fixture
def registry(tmp_path: Path, registered: Registry) -> Registry:
    """A copy of that workspace."""
    workspace = Workspace(tmp_path / "registry").create()
    shutil.copy(registered.workspace.mlflow_database, workspace.mlflow_database)
    shutil.copytree(
        registered.workspace.mlflow_artifacts, workspace.mlflow_artifacts, dirs_exist_ok=True
    )
    return Registry(workspace, Tracking.of(workspace), registered.number)
