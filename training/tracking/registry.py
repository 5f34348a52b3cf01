"""`Tracking`: the runs, versions and champion of one workspace."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import mlflow.artifacts
import msgspec
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from recsys.atomic_files import atomic_path
from recsys.bundle.publication import CHALLENGER, CHAMPION
from training.lock import FileLock
from training.tracking.flavor import BUNDLE
from training.tracking.rerooting import reroot
from training.tracking.run import Run, TrackingError
from training.workspace import Workspace

if TYPE_CHECKING:  # only what plots loads matplotlib
    from matplotlib.figure import Figure

RECIPE: Final = "recipe.json"
"""Where a run keeps what it was built from: the configuration, as the gate compares it."""

SQLITE: Final = "sqlite:///"
_ALIVE: Final = "recsys.alive"
_MODEL_VERSION: Final = "model_version"
_PREVIOUS: Final = "previous_champions"
_MAX_PREVIOUS: Final = 100
_MAX_TAG: Final = 5000


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version. `recipe` and `metrics` are those of the run that made it.

    `recipe` is None where that run has none, as after registering by hand from a notebook.
    """

    version: str
    run_id: str
    tags: Mapping[str, str]
    recipe: Mapping[str, Any] | None
    metrics: Mapping[str, float]
    created: datetime
    aliases: tuple[str, ...] = ()

    @property
    def model_version(self) -> str:
        """The version that the bundle, the pointer and the answers carry."""
        return self.tags[_MODEL_VERSION]


class Tracking:
    """MLflow's tracking and registry at `uri`, files below `artifacts`; made where missing.

    A SQLite database that was moved or copied together with its files is made to point at them.
    Several processes may open the same one at once: the database is set up by one of them.
    """

    def __init__(
        self, *, uri: str, artifacts: Path, experiment: str = "recsys", model_name: str = "recsys"
    ) -> None:
        for name in ("mlflow.store.db.utils", "mlflow.store.model_registry", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri = uri
        self.model_name = model_name
        self._running = artifacts.resolve() / ".running"
        self._running.mkdir(parents=True, exist_ok=True)
        # Two processes that create MLflow's tables at once both fail.
        with FileLock(self._running / "set-up.lock").wait():
            _set_up(uri)
            _follow(uri, experiment, artifacts)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            existing = self._client.get_experiment_by_name(experiment)
            self.experiment_id: str = (
                existing.experiment_id
                if existing is not None
                else self._client.create_experiment(experiment, artifacts.resolve().as_uri())
            )

    @classmethod
    def of(cls, workspace: Workspace) -> Tracking:
        """The tracking of a workspace, on its SQLite file."""
        workspace.create()
        return cls(
            uri=f"{SQLITE}{workspace.mlflow_database.resolve()}",
            artifacts=workspace.mlflow_artifacts,
        )

    @contextmanager
    def run(
        self,
        name: str,
        *,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        parent: Run | None = None,
    ) -> Iterator[Run]:
        """A run that ends FINISHED, FAILED by an exception, or KILLED by Ctrl-C.

        With a `parent` MLflow shows it below that run. Nested `params` become dotted names. The tag
        `code_revision` is also given to MLflow as the source commit. A run whose process dies is
        closed by the next `close_stale_runs`.
        """
        token = uuid.uuid4().hex
        with FileLock(self._running / f"{token}.lock").hold():
            with_lineage = {**tags, _ALIVE: token}
            if parent is not None:
                with_lineage["mlflow.parentRunId"] = parent.run_id
            if "code_revision" in tags:
                with_lineage["mlflow.source.git.commit"] = tags["code_revision"]
            created = self._client.create_run(self.experiment_id, run_name=name, tags=with_lineage)
            run = Run(self._client, created.info.run_id, staging=self._running / token)
            status = "FAILED"
            try:
                run.log_params(params)
                yield run
                status = "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                self._client.set_terminated(run.run_id, status)
                shutil.rmtree(self._running / token, ignore_errors=True)
        (self._running / f"{token}.lock").unlink(missing_ok=True)

    def close_stale_runs(self) -> list[str]:
        """Marks as KILLED the runs whose process is gone; gives their ids.

        A living run holds a lock that the kernel frees with its process, so a run in progress and
        a run that was started by other means are left alone.
        """
        closed = []
        for run in self._client.search_runs(
            [self.experiment_id], filter_string="attributes.status = 'RUNNING'", max_results=1000
        ):
            token = run.data.tags.get(_ALIVE, "")
            lock = self._running / f"{token}.lock"
            if not token or FileLock(lock).is_held():
                continue
            self._client.set_terminated(run.info.run_id, "KILLED")
            shutil.rmtree(self._running / token, ignore_errors=True)
            lock.unlink(missing_ok=True)
            closed.append(run.info.run_id)
        return closed

    def register(self, run: Run, *, tags: Mapping[str, str] | None = None) -> str:
        """Makes the run's bundle a version of the registered model; gives its number.

        TrackingError where the run has logged no bundle.
        """
        logged = run.logged_bundle
        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The location and not `models:/<id>`, which MLflow resolves with the process-wide URI.
        made = self._client.create_model_version(
            self.model_name,
            source=logged.location,
            run_id=run.run_id,
            model_id=logged.model_id,
            tags={**(tags or {}), _MODEL_VERSION: logged.model_version},
        )
        version = str(made.version)
        link = msgspec.json.encode([{"name": self.model_name, "version": int(version)}]).decode()
        self._client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
        return version

    def champion(self) -> ModelVersion | None:
        """The version with that alias; None where nothing was promoted yet."""
        return self._aliased(CHAMPION)

    def challenger(self) -> ModelVersion | None:
        """The version with that alias, if any."""
        return self._aliased(CHALLENGER)

    def set_alias(self, alias: str, version: str) -> None:
        """Gives an alias to a version, taking it from the one that had it.

        The champion is moved with `promote`, which also remembers the one before.
        """
        self._record(version)
        self._client.set_registered_model_alias(self.model_name, alias, version)

    def version(self, version: str) -> ModelVersion:
        """The version of that number; TrackingError names those that exist."""
        return self._version(self._record(version))

    def versions(self) -> list[ModelVersion]:
        """Every version, newest first."""
        return [self._version(record) for record in self._records()]

    def promote(self, version: str) -> ModelVersion:
        """Makes a version the champion; the one before is remembered for `rollback`.

        Promoting the champion again changes nothing.
        """
        promoted = self.version(version)
        current = self._aliases().get(CHAMPION)
        if current is not None and current != version:
            # Written before the alias moves: `previous_champions` leaves the champion itself out,
            # so a process that dies between the two has changed nothing.
            self._remember([*self.previous_champions(), current])
        self._client.set_registered_model_alias(self.model_name, CHAMPION, version)
        if self._aliases().get(CHALLENGER) == version:
            self._client.delete_registered_model_alias(self.model_name, CHALLENGER)
        return promoted

    def rollback(self) -> ModelVersion:
        """Makes the champion before the present one champion again; can be repeated.

        TrackingError where there is none left.
        """
        previous = self.previous_champions()
        if not previous:
            raise TrackingError(
                "No champion before the present one is on record; name one with recsys promote."
            )
        restored = self.version(previous[-1])
        self._client.set_registered_model_alias(self.model_name, CHAMPION, restored.version)
        self._remember(previous[:-1])
        return restored

    def previous_champions(self) -> list[str]:
        """Versions that were champion before the present one, the last of them last."""
        model = self._model()
        names = "" if model is None else model.tags.get(_PREVIOUS, "")
        previous = [version for version in names.split(",") if version]
        champion = self._aliases().get(CHAMPION)
        while previous and previous[-1] == champion:
            previous.pop()
        return previous

    def log_online(
        self,
        version: str,
        *,
        experiment: str,
        variant: str,
        metrics: Mapping[str, float],
        verdict: str,
        report: object,
        figure: Figure,
    ) -> None:
        """Writes what an experiment measured to a version (tags) and to the run that made it:
        metrics `online/<name>`, report and figure below `experiments/`. Doing it again replaces
        tags and files, and adds the newest values of the metrics."""
        record = self._record(version)
        run = Run(self._client, record.run_id, staging=self._running)
        run.log_metrics({f"online/{name}": value for name, value in metrics.items()})
        run.log_dict(report, f"experiments/{experiment}.json")
        run.log_figure(figure, f"experiments/{experiment}.png")
        for name, value in (("variant", variant), ("verdict", verdict[:_MAX_TAG])):
            self._client.set_model_version_tag(
                self.model_name, version, f"experiment.{experiment}.{name}", value
            )

    def bundle_directory(self, version: str) -> Path:
        """Where the logged bundle of a version lies on this machine; TrackingError if nowhere."""
        source = self._record(version).source
        try:
            return Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{source}/{BUNDLE}", tracking_uri=self.uri
                )
            )
        except (MlflowException, OSError) as error:
            raise TrackingError(f"The bundle of version {version} is gone: {error}") from error

    def _remember(self, previous: Sequence[str]) -> None:
        self._client.set_registered_model_tag(
            self.model_name, _PREVIOUS, ",".join(previous[-_MAX_PREVIOUS:])
        )

    def _aliased(self, alias: str) -> ModelVersion | None:
        version = self._aliases().get(alias)
        return None if version is None else self.version(version)

    def _aliases(self) -> dict[str, str]:
        model = self._model()
        return {} if model is None else {name: str(v) for name, v in model.aliases.items()}

    def _model(self) -> Any:
        try:
            return self._client.get_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _record(self, version: str) -> Any:
        records = self._records()
        record = next((r for r in records if str(r.version) == version), None)
        if record is None:
            known = ", ".join(str(r.version) for r in records)
            raise TrackingError(
                f"Model {self.model_name!r} has no version {version!r}; "
                f"it has {known or 'none yet: run recsys nightly first'}."
            )
        return record

    def _records(self) -> list[Any]:
        records = self._client.search_model_versions(
            f"name = '{self.model_name}'", max_results=10000
        )
        return sorted(records, key=lambda record: -int(record.version))

    def _version(self, record: Any) -> ModelVersion:
        version = str(record.version)
        try:
            run = self._client.get_run(record.run_id)
        except MlflowException as error:
            raise TrackingError(
                f"The run of version {version} is gone from MLflow; delete that version there, or "
                f"restore the run {record.run_id}."
            ) from error
        return ModelVersion(
            version=version,
            run_id=record.run_id,
            tags=dict(record.tags),
            recipe=_read_json(f"{run.info.artifact_uri}/{RECIPE}", self.uri),
            metrics=dict(run.data.metrics),
            created=datetime.fromtimestamp(record.creation_timestamp / 1000, UTC),
            aliases=tuple(sorted(name for name, v in self._aliases().items() if v == version)),
        )


def _set_up(uri: str) -> None:
    """Makes a SQLite database atomically, so that it is whole or not there.

    Making MLflow's tables takes seconds; a process that is killed meanwhile would leave a database
    that no later one can use. Other databases are set up by MLflow itself.
    """
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        MlflowClient(tracking_uri=f"{SQLITE}{draft}").search_experiments(max_results=1)


def _follow(uri: str, experiment: str, artifacts: Path) -> None:
    """Makes a SQLite database that was moved or copied point at its own files."""
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    if reroot(path, experiment=experiment, artifacts=artifacts) is not None:
        # MLflow remembers the location of each run for the whole process.
        _artifact_repos_cache.clear()


def _read_json(artifact: str, uri: str) -> dict[str, Any] | None:
    """A run's JSON file; None where the run has none."""
    try:
        local = mlflow.artifacts.download_artifacts(artifact_uri=artifact, tracking_uri=uri)
    except (MlflowException, OSError):
        return None
    return msgspec.json.decode(Path(local).read_bytes(), type=dict[str, Any])
