"""The bundle directory as an MLflow model: `save_model`, `log_model`, `load_model`, `_load_pyfunc`.

A saved model is the bundle's own files (arrays and JSON, nothing pickled) beside MLflow's `MLmodel`
and the versions of the packages that it was made with.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import mlflow.artifacts
import mlflow.models
from mlflow import pyfunc
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

from recsys.bundle import Bundle, load_bundle, read_manifest
from recsys.errors import BundleError
from recsys.models import MODELS
from training.predictor import BundlePredictor

FLAVOR: Final = "recsys"
BUNDLE: Final = "bundle"
"""The folder of the bundle inside a saved model."""


def save_model(
    bundle_directory: Path | str,
    path: Path | str,
    *,
    mlflow_model: mlflow.models.Model | None = None,
) -> None:
    """Writes a bundle directory as an MLflow model into `path`, which must not exist yet.

    BundleError where the bundle is unreadable, or holds rows of single customers: such a bundle
    stays out of MLflow.
    """
    source, target = Path(bundle_directory), Path(path)
    manifest = read_manifest(source)
    _refuse_personal_rows(source)
    target.mkdir(parents=True)
    shutil.copytree(source, target / BUNDLE, copy_function=_link_or_copy)
    (target / "requirements.txt").write_text("\n".join(_requirements()) + "\n")
    model = mlflow.models.Model() if mlflow_model is None else mlflow_model
    model.signature = _signature()
    model.add_flavor(
        FLAVOR,
        data=BUNDLE,
        schema_version=manifest.schema_version,
        model_version=manifest.model_version,
    )
    pyfunc.add_to_model(model, loader_module="training.tracking", data=BUNDLE)
    model.save(str(target / "MLmodel"))


def log_model(
    bundle_directory: Path | str,
    *,
    name: str = BUNDLE,
    registered_model_name: str | None = None,
) -> mlflow.models.model.ModelInfo:
    """Logs a bundle directory as a model of MLflow's active run, as any flavor does."""
    info: mlflow.models.model.ModelInfo = mlflow.models.Model.log(
        artifact_path=None,
        name=name,
        flavor=sys.modules["training.tracking"],
        flavor_name=FLAVOR,
        registered_model_name=registered_model_name,
        bundle_directory=bundle_directory,
    )
    return info


def load_model(model_uri: str) -> Bundle:
    """The bundle behind `models:/recsys@champion`, `runs:/…` or a path; every file verified."""
    local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri))
    return load_bundle(local / BUNDLE)


def _load_pyfunc(path: str) -> BundlePredictor:
    return BundlePredictor.load(Path(path))


def _refuse_personal_rows(directory: Path) -> None:
    for folder in sorted((directory / "models").glob("*")):
        family = MODELS.get(folder.name)
        if family is not None and family.model.holds_personal_rows:
            raise BundleError(
                f"Model {folder.name!r} holds rows of single customers, which must not enter "
                "MLflow; leave it out of the recipe or keep the bundle local."
            )


def _signature() -> mlflow.models.ModelSignature:
    """The columns of `BundlePredictor.predict`, each of which a row may leave out.

    MLflow's array and integer columns refuse a missing value, hence the open type.
    """
    anything = AnyType()  # type: ignore[no-untyped-call]
    return mlflow.models.ModelSignature(
        inputs=Schema(
            [
                ColSpec(anything, "history", required=False),
                ColSpec(anything, "seeds", required=False),
                ColSpec(anything, "k", required=False),
                ColSpec(DataType.string, "placement", required=False),
                ColSpec(DataType.string, "country", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array(DataType.string), "item_ids"),
                ColSpec(Array(DataType.double), "scores"),
                ColSpec(Array(DataType.string), "sources"),
            ]
        ),
    )


def _requirements() -> list[str]:
    """The installed versions of this package's direct dependencies.

    This package itself is not listed: it is on no registry, and a stranger's package of that name
    must not be installed in its place.
    """
    names = [
        re.split(r"[^A-Za-z0-9_.-]", wanted, maxsplit=1)[0]
        for wanted in importlib.metadata.requires("recsys") or []
        if "extra ==" not in wanted
    ]
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted(names)]


def _link_or_copy(source: str, target: str) -> str:
    """A second name for a file that is never rewritten; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
