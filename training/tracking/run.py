"""`Run`: what one training run writes down while it lasts."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import mlflow.models
import msgspec
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param

from recsys.bundle.manifest import read_manifest
from recsys.errors import RecsysError
from training.tracking.flavor import FLAVOR, save_model

if TYPE_CHECKING:  # only what plots loads matplotlib
    from matplotlib.figure import Figure

_BATCH: Final = 100
"""MLflow's limit on parameters of one call."""
_MAX_PARAM: Final = 6000
_MAX_DIGEST: Final = 36
_DATASET: Final = "events"


class TrackingError(RecsysError):
    """MLflow does not have what was asked for: a version, an alias, a bundle."""


@dataclass(frozen=True, slots=True)
class LoggedBundle:
    """A bundle in MLflow: its id there, where its files lie, and the version it carries."""

    model_id: str
    location: str
    model_version: str


class Run:
    """One run in MLflow; made by `Tracking.run`."""

    def __init__(self, client: MlflowClient, run_id: str, *, staging: Path) -> None:
        self.run_id = run_id
        self._client = client
        self._staging = staging
        self._logged: LoggedBundle | None = None
        self._metrics: list[Metric] = []

    @property
    def logged_bundle(self) -> LoggedBundle:
        """The bundle of this run; TrackingError before `log_bundle`."""
        if self._logged is None:
            raise TrackingError(f"Run {self.run_id} has no bundle; call log_bundle first.")
        return self._logged

    def log_params(self, params: Mapping[str, object]) -> None:
        """Parameters, nested ones under dotted names; the part beyond 6,000 characters is cut."""
        flat = [Param(name, str(value)[:_MAX_PARAM]) for name, value in _flat(params)]
        for first in range(0, len(flat), _BATCH):
            self._client.log_batch(self.run_id, params=flat[first : first + _BATCH])

    def log_dataset(
        self, digest: str, *, context: str = "training", profile: object = None
    ) -> None:
        """What the run learnt from: the fingerprint, and in `profile` its counts and dates."""
        dataset = Dataset(
            name=_DATASET,
            digest=digest[:_MAX_DIGEST],
            source_type="local",
            source=_json({"fingerprint": digest}),
            profile=None if profile is None else _json(profile),
        )
        tags = [InputTag("mlflow.data.context", context)]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_metrics(self, values: Mapping[str, float], *, dataset: str | None = None) -> None:
        """Metrics by name (`new_items/recall_at_20`); NaN means not measured and is left out.

        `dataset` is the fingerprint of the events that they were measured on.
        """
        # MLflow stamps every value with the moment of writing.
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(
                key=name.replace("@", "_at_"),
                value=float(value),
                timestamp=now,
                step=0,
                model_id=None if self._logged is None else self._logged.model_id,
                dataset_name=None if dataset is None else _DATASET,
                dataset_digest=None if dataset is None else dataset[:_MAX_DIGEST],
                run_id=self.run_id,
            )
            for name, value in values.items()
            if not math.isnan(value)
        ]
        self._metrics += metrics
        for first in range(0, len(metrics), _BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[first : first + _BATCH])

    def log_dict(self, content: object, name: str) -> None:
        """A JSON file: dictionaries, dataclasses, pydantic models and arrays; NaN becomes null."""
        self.log_text(msgspec.json.format(_json(content), indent=2), name)

    def log_text(self, text: str, name: str) -> None:
        """A text file."""
        self._client.log_text(self.run_id, text, name)

    def log_figure(self, figure: Figure, name: str) -> None:
        """A matplotlib figure as PNG."""
        self._client.log_figure(self.run_id, figure, name)

    def log_bundle(self, directory: Path) -> LoggedBundle:
        """Logs a bundle directory as this run's model and links the run's metrics to it.

        Rows of customers stay out (`save_model`). BundleError where the bundle is unreadable.
        """
        manifest = read_manifest(directory)
        private = manifest.private_models
        run = self._client.get_run(self.run_id)
        logged = self._client.create_logged_model(
            run.info.experiment_id,
            name="bundle",
            source_run_id=self.run_id,
            model_type=FLAVOR,
            params={name: value[:500] for name, value in run.data.params.items()},
            tags={
                "model_version": manifest.model_version,
                **({"kept_local": ", ".join(private)} if private else {}),
            },
        )
        staged = self._staging / "model"
        try:
            shutil.rmtree(staged, ignore_errors=True)
            save_model(
                directory,
                staged,
                mlflow_model=mlflow.models.Model(
                    artifact_path=logged.artifact_location,
                    run_id=self.run_id,
                    model_id=logged.model_id,
                    model_uuid=logged.model_id,
                ),
            )
            self._client.log_model_artifacts(logged.model_id, str(staged))
        except BaseException:
            self._client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._logged = LoggedBundle(
            logged.model_id, str(logged.artifact_location), manifest.model_version
        )
        self._attach_metrics(logged.model_id)
        return self._logged

    def _attach_metrics(self, model_id: str) -> None:
        """Links what was measured before the bundle was logged, so that MLflow compares models."""
        linked = [
            Metric(
                metric.key,
                metric.value,
                metric.timestamp,
                metric.step,
                model_id=model_id,
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
                run_id=self.run_id,
            )
            for metric in self._metrics
        ]
        for first in range(0, len(linked), _BATCH):
            self._client.log_batch(self.run_id, metrics=linked[first : first + _BATCH])


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _json(content: object) -> str:
    return msgspec.json.encode(content, enc_hook=_plain).decode()


def _plain(value: Any) -> object:
    """numpy's arrays and numbers and pydantic's models as plain values."""
    for method, arguments in (("tolist", {}), ("model_dump", {"mode": "json"})):
        if hasattr(value, method):
            return getattr(value, method)(**arguments)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
