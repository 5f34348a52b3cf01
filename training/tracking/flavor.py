"""The bundle directory as an MLflow model: `save_model`, `log_model`, `load_model`, `_load_pyfunc`.

A saved model is the bundle's own files (arrays and JSON, nothing pickled) beside MLflow's `MLmodel`
and the versions of the packages that it was made with. The files of models that store rows of
customers stay where the service reads them; `kept_local.json` says which.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mlflow.artifacts
import mlflow.models
import msgspec
from mlflow import pyfunc
from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

from recsys.bundle.manifest import Manifest, public_files, read_manifest
from recsys.errors import BundleError

if TYPE_CHECKING:  # commands that only list versions need neither models nor pandas
    from recsys.bundle.bundle import Bundle
    from recsys.recommender import Recommender
    from training.tracking.predictor import BundlePredictor

FLAVOR: Final = "recsys"
BUNDLE: Final = "bundle"
"""The folder of the bundle inside a saved model."""
KEPT_LOCAL: Final = "kept_local.json"
"""Which of its files a saved model lacks, and why."""


def save_model(
    bundle_directory: Path | str,
    path: Path | str,
    *,
    mlflow_model: mlflow.models.Model | None = None,
) -> None:
    """Writes a bundle directory as an MLflow model into `path`, which must not exist yet.

    Without the files of models that store rows of customers. BundleError where the bundle is
    unreadable, or its manifest does not name such a model.
    """
    source, target = Path(bundle_directory), Path(path)
    manifest = read_manifest(source)
    _refuse_undeclared_rows(source, manifest)
    target.mkdir(parents=True)
    for name in public_files(source):
        copy = target / BUNDLE / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(source / name, copy)
    if manifest.private_models:
        note = {
            "models": manifest.private_models,
            "files": [name for name in manifest.files if manifest.is_private(name)],
            "why": "They store rows of customers, which stay on the shop's own disk.",
            "where": f"published/bundles/{manifest.model_version} below the workspace",
        }
        (target / KEPT_LOCAL).write_bytes(msgspec.json.format(msgspec.json.encode(note)))
    (target / "requirements.txt").write_text("\n".join(_requirements()) + "\n")
    model = mlflow.models.Model() if mlflow_model is None else mlflow_model
    model.signature = _signature()
    model.add_flavor(
        FLAVOR,
        data=BUNDLE,
        schema_version=manifest.schema_version,
        model_version=manifest.model_version,
        kept_local=list(manifest.private_models),
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


def load_model(model_uri: str) -> Recommender:
    """The version behind `models:/recsys@champion`, `runs:/…` or a path, as `recsys.load` gives it:
    frames in, frames out, `.bundle` with the models. Every file is verified.

    Warns where models are left out because their rows of customers are not in MLflow.
    """
    local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri))
    from recsys.bundle.save_load import load_public_bundle
    from recsys.recommender import Recommender

    return Recommender(_warned(load_public_bundle(local / BUNDLE)))


def _load_pyfunc(path: str) -> BundlePredictor:
    from recsys.bundle.save_load import load_public_bundle
    from training.tracking.predictor import BundlePredictor

    return BundlePredictor(_warned(load_public_bundle(Path(path))))


def _warned(bundle: Bundle) -> Bundle:
    absent = [name for name in bundle.manifest.private_models if name not in bundle.models]
    if absent:
        warnings.warn(
            f"Bundle {bundle.model_version} is without {', '.join(absent)}: these models store "
            "rows of customers, which are not in MLflow. Their weight is left out, and so is a "
            "ranker that looks at them; the whole bundle is in published/bundles/"
            f"{bundle.model_version} below the workspace.",
            stacklevel=3,
        )
    return bundle


def _refuse_undeclared_rows(directory: Path, manifest: Manifest) -> None:
    """The last door: a bundle by older or foreign code may not name what it stores."""
    from recsys.models.registry import known_family

    for folder in sorted((directory / "models").glob("*")):
        family = known_family(folder.name)
        local = family is not None and family.stores_user_data
        if local and folder.name not in manifest.private_models:
            raise BundleError(
                f"Model {folder.name!r} holds rows of single customers, but the manifest does not "
                "keep it local; train again with this code."
            )


def _signature() -> mlflow.models.ModelSignature:
    """What `BundlePredictor.predict` gives, and its parameters.

    The columns of the questions are not in it: MLflow would take out a column that a signature does
    not name and only warn, where the predictor refuses it by name.
    """
    from training.tracking.predictor import PARAMETERS

    return mlflow.models.ModelSignature(
        outputs=Schema(
            [
                ColSpec(Array(DataType.string), "item_ids"),
                ColSpec(Array(DataType.double), "scores"),
                ColSpec(Array(DataType.string), "sources"),
            ]
        ),
        params=ParamSchema([ParamSpec(name, DataType.string, "") for name in PARAMETERS]),
    )


def _requirements() -> list[str]:
    """The installed versions of what loads and runs a saved model: the plain dependencies and
    MLflow.

    This package itself is not listed: it is on no registry, and a stranger's package of that name
    must not be installed in its place.
    """
    names = [
        re.split(r"[^A-Za-z0-9_.-]", wanted, maxsplit=1)[0]
        for wanted in importlib.metadata.requires("recsys") or []
        if "extra ==" not in wanted
    ]
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted({*names, "mlflow"})]


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is never rewritten; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
