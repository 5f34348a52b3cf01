"""Two versions side by side: started, stopped, and reported to the versions that served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest

from recsys.bundle.publication import read_publication
from recsys.errors import InvalidInput
from recsys.events.schema import Consent, Event, EventItem
from recsys.experiments.ab_test import ExperimentRules
from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite import SQLiteStore
from training.cli.app import main
from training.pipeline.experiments import Record, read_record, records, report, start, stop
from training.pipeline.publish import promote
from training.tracking import Tracking
from training.workspace import Workspace

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
Register = Callable[..., str]
MakeBundle = Callable[..., Path]


@pytest.fixture
def workspace(registry) -> Workspace:
    """A workspace whose registry has versions."""
    return registry.workspace


@pytest.fixture
def tracking(registry) -> Tracking:
    return registry.tracking


@pytest.fixture
def two_versions(registry) -> tuple[str, str]:
    """night-1 is the champion and served, night-2 the challenger; their numbers."""
    first, second = registry.number["night-1"], registry.number["night-2"]
    promote(registry.tracking, first, root=registry.root)
    registry.tracking.set_alias("challenger", second)
    return first, second


@pytest.fixture
def store(workspace: Workspace) -> Iterator[SQLiteStore]:
    store = SQLiteStore(workspace.store)
    yield store
    store.close()


def shares_served(workspace: Workspace) -> dict[str, tuple[str, float]]:
    publication = read_publication(workspace.published)
    assert publication is not None
    return {entry.name: (entry.model_version, entry.share) for entry in publication.variants}


def begin(workspace: Workspace, tracking: Tracking | None, **shares: float) -> Record:
    return start(
        workspace, tracking, shares or {"champion": 50, "challenger": 50}, id="autumn", at=AT
    )


def react(store: SQLiteStore, *, buyers: dict[str, float], persons: int = 200) -> None:
    """Every person gets one list; some of each variant buy what was in it."""
    rng = np.random.default_rng(0)
    answers, events = [], []
    for number in range(persons):
        variant = "champion" if number % 2 else "challenger"
        when = AT + timedelta(hours=1 + number / 100)
        answers.append(
            LoggedAnswer(
                recommendation_id=f"r-{number}",
                time=when.timestamp(),
                placement="for_you",
                variant=variant,
                model_version="night-1" if number % 2 else "night-2",
                item_ids=["mug"],
                sources=["popularity"],
                levels=["everybody"],
                scores=[1.0],
                propensities=[1.0],
                person=f"u:{number}",
            )
        )
        if rng.random() < buyers[variant]:
            events.append(
                Event(
                    event_id=f"e-{number}",
                    event="purchase",
                    timestamp=when + timedelta(minutes=5),
                    user_id=str(number),
                    items=[EventItem("mug", price=5.0)],
                    consent=Consent(personalization=True, analytics=True),
                )
            )
    store.log_answers(answers)
    store.append(events, received_at=AT + timedelta(days=1))


def test_the_shares_are_served_and_end_with_the_experiment(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str]
) -> None:
    begin(workspace, tracking, champion=90, challenger=10)
    assert shares_served(workspace) == {
        "champion": ("night-1", 0.9),
        "challenger": ("night-2", 0.1),
    }
    publication = read_publication(workspace.published)
    assert publication is not None
    assert publication.experiment is not None
    assert publication.experiment.id == "autumn"
    ended = stop(workspace, at=AT + timedelta(days=14))
    assert shares_served(workspace) == {"champion": ("night-1", 1.0)}
    assert read_record(workspace, "autumn") == ended
    assert ended.ended_at == AT + timedelta(days=14)


def test_a_night_may_refit_the_champion_while_the_experiment_goes_on(
    registry, workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str]
) -> None:
    begin(workspace, tracking, champion=90, challenger=10)
    promote(tracking, registry.number["night-3"], root=workspace.published, keep=1)
    assert shares_served(workspace) == {
        "champion": ("night-3", 0.9),
        "challenger": ("night-2", 0.1),
    }
    publication = read_publication(workspace.published)
    assert publication is not None
    assert publication.experiment is not None


def test_a_number_and_a_published_version_can_be_named(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str]
) -> None:
    begin(workspace, tracking, **{"champion": 1, two_versions[1]: 1})
    assert shares_served(workspace)[two_versions[1]] == ("night-2", 0.5)
    stop(workspace, at=AT)
    start(workspace, None, {"champion": 1, "night-2": 3}, id="winter", at=AT)
    assert shares_served(workspace)["night-2"] == ("night-2", 0.75)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"champion": 100}, "at least one challenger"),
        ({"challenger": 50, "2": 50}, "name the champion"),
        ({"champion": 100, "challenger": 0}, "a share is above 0"),
    ],
)
def test_what_is_no_experiment_is_refused(
    workspace: Workspace,
    tracking: Tracking,
    two_versions: tuple[str, str],
    shares: dict[str, float],
    message: str,
) -> None:
    before = shares_served(workspace)
    with pytest.raises(InvalidInput, match=message):
        begin(workspace, tracking, **shares)
    assert shares_served(workspace) == before
    assert records(workspace) == []


def test_a_version_is_tested_against_itself_only_where_that_is_asked_for(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str]
) -> None:
    shares = {"champion": 50, two_versions[0]: 50}
    with pytest.raises(InvalidInput, match="use --aa"):
        begin(workspace, tracking, **shares)
    assert records(workspace) == []
    start(workspace, tracking, shares, id="autumn", at=AT, aa=True)
    assert shares_served(workspace)[two_versions[0]] == ("night-1", 0.5)


def test_only_one_runs_at_a_time_and_ids_are_used_once(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str]
) -> None:
    begin(workspace, tracking)
    with pytest.raises(InvalidInput, match="another"):
        begin(workspace, tracking)
    with pytest.raises(InvalidInput, match="it is running"):
        start(workspace, tracking, {"champion": 1, "challenger": 1}, id="winter", at=AT)
    stop(workspace, at=AT)
    with pytest.raises(InvalidInput, match="none is running"):
        stop(workspace, at=AT)


def test_the_result_reaches_both_versions_in_mlflow(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str], store: SQLiteStore
) -> None:
    begin(workspace, tracking)
    react(store, buyers={"champion": 0.1, "challenger": 0.6})
    outcome = report(
        workspace,
        store,
        tracking,
        id=None,
        now=AT + timedelta(days=15),
        rules=ExperimentRules(min_persons=50),
    )
    assert outcome.report.of("challenger", "conversion").direction == 1
    assert set(outcome.written_to) == set(two_versions)
    for version, variant in zip(two_versions, ("champion", "challenger"), strict=True):
        read = tracking.version(version)
        assert read.tags["experiment.autumn.variant"] == variant
        assert "higher conversion" in read.tags["experiment.autumn.verdict"]
        assert read.metrics["online/persons"] == 100
        assert 0 < read.metrics["online/conversion_low"] < read.metrics["online/conversion"]
    lift = tracking.version(two_versions[1]).metrics["online/lift_conversion"]
    assert lift == pytest.approx(outcome.report.of("challenger", "conversion").lift[0])
    run_id = tracking.version(two_versions[1]).run_id
    client = mlflow.MlflowClient(tracking_uri=tracking.uri)
    files = {entry.path for entry in client.list_artifacts(run_id, "experiments")}
    assert files == {"experiments/autumn.json", "experiments/autumn.png"}


def test_the_report_lies_in_the_workspace_and_names_nobody(
    workspace: Workspace, tracking: Tracking, two_versions: tuple[str, str], store: SQLiteStore
) -> None:
    begin(workspace, tracking)
    react(store, buyers={"champion": 0.3, "challenger": 0.3})
    outcome = report(workspace, store, None, id="autumn", now=AT + timedelta(days=15))
    assert outcome.written_to == ()
    content = (outcome.folder / "report.json").read_text()
    assert '"u:' not in content
    assert (outcome.folder / "report.png").stat().st_size > 1000


def test_the_commands_start_report_and_stop(
    workspace: Workspace,
    tracking: Tracking,
    two_versions: tuple[str, str],
    store: SQLiteStore,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def recsys(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--workspace", str(workspace.root)])
        message = capsys.readouterr()
        return int(ended.value.code or 0), message.out + message.err

    shares = ("--variant", "challenger=10", "--variant", "champion=90")
    code, message = recsys("experiment", "start", *shares, "--id", "autumn")
    assert code == 0, message
    assert message.index("champion") < message.index("challenger")
    assert "night-2" in recsys("experiment", "status")[1]
    react(store, buyers={"champion": 0.3, "challenger": 0.3})
    figures = tmp_path / "figures.json"
    code, message = recsys("experiment", "report", "--json", figures)
    assert code == 0, message
    assert "conversion" in message
    assert {entry["name"] for entry in json.loads(figures.read_text())["variants"]} == {
        "champion",
        "challenger",
    }
    assert recsys("experiment", "stop")[0] == 0
    assert "No experiment is running" in recsys("experiment", "status")[1]
    assert recsys("experiment", "report", "--primary", "luck")[0] == 2
    assert recsys("experiment", "start", "--variant", "champion")[0] == 2
    code, message = recsys("kpi", "--days", 2, "--json", figures)
    assert code == 0, message
    read = json.loads(figures.read_text())
    assert (read["experiment"], len(read["days"])) == (None, 0)
    assert figures.read_bytes() == workspace.kpi.read_bytes()
