"""The workspace: one directory with everything that training writes and serving reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths below one root; nothing is created by naming them, only by `create`.

    store.sqlite    events, profiles, live catalogue, logged answers
    event_log/      Parquet partitions by day, what training reads
    imports.jsonl   what was imported, when, and the consent statement
    rejected/       lines that an import rejected, with the reason
    published/      bundles and the pointer that the service follows
    mlflow.sqlite   runs and registry; mlartifacts/ holds their files
    nightly.json    the current step of the nightly run
    nightly.lock    held by the nightly run, so that two never overlap
    experiments/    records and reports of A/B tests
    kpi.json        the newest figures of `recsys kpi`
    search.sqlite   the studies of `recsys search`; search.lock is held by one that is under way
    """

    root: Path = Path(".recsys")

    @property
    def store(self) -> Path:
        """The SQLite file of the event store."""
        return self.root / "store.sqlite"

    @property
    def event_log(self) -> Path:
        """The directory of the event log."""
        return self.root / "event_log"

    @property
    def imports(self) -> Path:
        """The record of imports, a JSON object per line."""
        return self.root / "imports.jsonl"

    @property
    def rejected(self) -> Path:
        """The directory of lines kept aside by imports."""
        return self.root / "rejected"

    @property
    def published(self) -> Path:
        """The directory of published bundles and their pointer."""
        return self.root / "published"

    @property
    def mlflow_database(self) -> Path:
        """The SQLite file of MLflow's tracking and registry."""
        return self.root / "mlflow.sqlite"

    @property
    def mlflow_artifacts(self) -> Path:
        """The directory of MLflow's files."""
        return self.root / "mlartifacts"

    @property
    def nightly_status(self) -> Path:
        """The step that the newest nightly run has reached, as JSON."""
        return self.root / "nightly.json"

    @property
    def nightly_lock(self) -> Path:
        """The lock file of the nightly run."""
        return self.root / "nightly.lock"

    @property
    def experiments(self) -> Path:
        """The directory of the experiments' records and reports."""
        return self.root / "experiments"

    @property
    def kpi(self) -> Path:
        """The figures that `recsys kpi` wrote last, which the service shows where it cannot count
        so many answers itself."""
        return self.root / "kpi.json"

    @property
    def search_database(self) -> Path:
        """The SQLite file of the search's studies."""
        return self.root / "search.sqlite"

    @property
    def search_lock(self) -> Path:
        """The lock file of the search."""
        return self.root / "search.lock"

    def create(self) -> Workspace:
        """Makes the directories that are missing and gives the workspace back."""
        for folder in (
            self.root,
            self.event_log,
            self.rejected,
            self.published,
            self.mlflow_artifacts,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        return self
