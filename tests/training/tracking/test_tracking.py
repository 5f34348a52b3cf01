"""What MLflow holds afterwards, on a real SQLite database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from recsys.bundle.manifest import read_manifest, verify_files
from recsys.bundle.save_load import load_bundle
from recsys.errors import BundleError, InvalidInput
from recsys.evaluation.intervals import Estimate
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent, Event, EventItem
from recsys.models.popularity.popularity import POPULARITY, PopularityModel
from recsys.models.registry import MODELS
from recsys.store.sqlite import SQLiteStore
from training.pipeline import plots
from training.tracking import Tracking, TrackingError, load_model, log_model, save_model
from training.tracking.predictor import BundlePredictor
from training.workspace import Workspace

Register = Callable[..., str]
MakeBundle = Callable[..., Path]
DIGEST = "f" * 64
CUSTOMER = "u:stored"

HOLDS_A_RUN = """
import sys, pathlib
from training.tracking import Tracking
print("ready", flush=True)
sys.stdin.readline()
root = pathlib.Path(sys.argv[1])
tracking = Tracking(uri=f"sqlite:///{root}/mlflow.sqlite", artifacts=root / "files")
with tracking.run("nightly", params={}, tags={}) as run:
    print(run.run_id, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def client(tracking: Tracking) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)


@pytest.fixture
def as_data_scientist(tracking: Tracking) -> object:
    """MLflow's process-wide state, as a notebook sets it; put back afterwards."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(tracking.uri)
    mlflow.set_registry_uri(tracking.uri)
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def artifact(client: MlflowClient, run_id: str, name: str) -> Path:
    return Path(client.download_artifacts(run_id, name))


def test_a_run_holds_parameters_lineage_metrics_and_files(
    tracking: Tracking, client: MlflowClient
) -> None:
    params = {"recipe": {"seed": 7, "models": {"als": {"reg": 0.1}, "repeat": {}}}}
    with tracking.run("nightly", params=params, tags={"code_revision": "abc"}) as run:
        run.log_dataset(DIGEST, profile={"events": 12})
        run.log_metrics({"new_items/ndcg@20": 0.3, "ndcg_at_20_low": 0.28}, dataset=DIGEST)
        run.log_dict({"share": np.float32(0.5), "unknown": float("nan")}, "report.json")
        run.log_text("why", "reasons.txt")
    logged = client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.params == {
        "recipe.seed": "7",
        "recipe.models.als.reg": "0.1",
        "recipe.models.repeat": "{}",
    }
    assert logged.data.metrics == {"new_items/ndcg_at_20": 0.3, "ndcg_at_20_low": 0.28}
    assert logged.data.tags["mlflow.source.git.commit"] == "abc"
    assert logged.inputs.dataset_inputs[0].dataset.digest == DIGEST[:36]
    report = artifact(client, run.run_id, "report.json").read_text()
    assert json.loads(report) == {"share": 0.5, "unknown": None}
    assert artifact(client, run.run_id, "reasons.txt").read_text() == "why"


def test_a_measure_that_was_not_taken_is_left_out(tracking: Tracking, client: MlflowClient) -> None:
    with tracking.run("nightly", params={}, tags={}) as run:
        run.log_metrics({"recall_at_20": float("nan"), "ndcg_at_20": 0.0})
    assert client.get_run(run.run_id).data.metrics == {"ndcg_at_20": 0.0}


def test_more_parameters_and_metrics_than_one_call_takes_all_arrive(
    tracking: Tracking, client: MlflowClient
) -> None:
    many = {f"name_{n}": n for n in range(230)}
    with tracking.run("nightly", params={**many, "long": "x" * 9000}, tags={}) as run:
        run.log_metrics(many)
    data = client.get_run(run.run_id).data
    assert len(data.params) == 231
    assert len(data.metrics) == 230


@pytest.mark.parametrize(
    ("raised", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_that_ends_by_an_exception_says_so(
    tracking: Tracking, client: MlflowClient, raised: type[BaseException], status: str
) -> None:
    with pytest.raises(raised), tracking.run("nightly", params={}, tags={}) as run:
        raise raised
    assert client.get_run(run.run_id).info.status == status


def test_two_processes_set_up_one_database_and_only_the_killed_ones_run_is_closed(
    tmp_path: Path,
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_RUN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        tracking = Tracking(uri=f"sqlite:///{tmp_path}/mlflow.sqlite", artifacts=tmp_path / "files")
        client = MlflowClient(tracking_uri=tracking.uri)
        with tracking.run("nightly", params={}, tags={}) as ours:
            theirs = other.stdout.readline().strip()
            assert tracking.close_stale_runs() == []
            other.kill()
            other.wait()
            assert tracking.close_stale_runs() == [theirs]
            assert tracking.close_stale_runs() == []
            assert client.get_run(theirs).info.status == "KILLED"
            assert client.get_run(ours.run_id).info.status == "RUNNING"
        left = {path.name for path in (tmp_path / "files" / ".running").iterdir()}
        assert left == {"set-up.lock"}
    finally:
        other.kill()
        other.communicate()


def test_a_database_whose_set_up_was_killed_is_made_anew(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        child = process.pid
    left = tmp_path / f".mlflow.sqlite.{child}.writing"
    left.write_bytes(b"half a database")
    left.with_name(f"{left.name}-journal").write_bytes(b"")
    tracking = Tracking(uri=f"sqlite:///{tmp_path}/mlflow.sqlite", artifacts=tmp_path / "files")
    assert tracking.versions() == []
    assert {path.name for path in tmp_path.iterdir()} == {"files", "mlflow.sqlite"}


def test_a_version_without_a_recipe_says_none_and_not_an_empty_one(
    tracking: Tracking, make_bundle: MakeBundle
) -> None:
    with tracking.run("by hand", params={}, tags={}) as run:
        run.log_bundle(make_bundle("by-hand"))
        number = tracking.register(run)
    assert tracking.version(number).recipe is None


def test_a_run_that_was_started_by_other_means_is_left_alone(
    tracking: Tracking, client: MlflowClient
) -> None:
    other = client.create_run(tracking.experiment_id)
    assert tracking.close_stale_runs() == []
    assert client.get_run(other.info.run_id).info.status == "RUNNING"


def test_before_the_first_version_there_is_no_champion(tracking: Tracking) -> None:
    assert tracking.champion() is None
    assert tracking.challenger() is None
    assert tracking.versions() == []
    assert tracking.previous_champions() == []
    with pytest.raises(TrackingError, match="none yet"):
        tracking.version("1")


def test_a_version_knows_its_recipe_metrics_tags_and_bundle(
    tracking: Tracking, register: Register
) -> None:
    number = register("night-1")
    tracking.set_alias("challenger", number)
    challenger = tracking.challenger()
    assert challenger is not None
    assert (challenger.version, challenger.model_version, challenger.aliases) == (
        "1",
        "night-1",
        ("challenger",),
    )
    assert challenger.recipe == {"seed": 7}
    assert challenger.metrics == {"ndcg_at_20": 0.25}
    assert challenger.tags["recipe_digest"] == "c0ffee"
    directory = tracking.bundle_directory(number)
    bundle = load_bundle(directory)
    verify_files(directory, bundle.manifest)
    assert bundle.model_version == "night-1"


def test_an_unknown_version_is_refused_with_those_that_exist(
    tracking: Tracking, register: Register
) -> None:
    register("night-1")
    register("night-2")
    for ask in (tracking.version, tracking.promote, tracking.bundle_directory):
        with pytest.raises(TrackingError, match=r"no version '9'; it has 2, 1"):
            ask("9")
    with pytest.raises(TrackingError, match="no version"):
        tracking.set_alias("challenger", "9")


def test_a_run_without_a_bundle_cannot_be_registered(tracking: Tracking) -> None:
    with tracking.run("nightly", params={}, tags={}) as run:
        run.log_metrics({"ndcg_at_20": 0.2})
    with pytest.raises(TrackingError, match="log_bundle first"):
        tracking.register(run)
    assert tracking.versions() == []


def test_promoting_moves_the_alias_and_rollback_goes_back_as_often_as_there_were_champions(
    tracking: Tracking, register: Register
) -> None:
    first, second, third = (register(f"night-{n}") for n in (1, 2, 3))
    tracking.set_alias("challenger", first)
    for number in (first, second, second, third):
        tracking.promote(number)
    assert tracking.challenger() is None
    assert tracking.previous_champions() == [first, second]
    assert tracking.rollback().version == second
    assert tracking.rollback().version == first
    assert tracking.champion().version == first
    with pytest.raises(TrackingError, match="No champion before"):
        tracking.rollback()
    assert tracking.champion().version == first


def test_after_a_rollback_another_promotion_goes_back_to_the_same_champion(
    tracking: Tracking, register: Register
) -> None:
    first, second, third = (register(f"night-{n}") for n in (1, 2, 3))
    tracking.promote(first)
    tracking.promote(second)
    tracking.rollback()
    tracking.promote(third)
    assert tracking.rollback().version == first


def test_a_process_that_died_between_the_two_writes_of_a_promotion_changed_nothing(
    tracking: Tracking, register: Register, client: MlflowClient
) -> None:
    first, second = register("night-1"), register("night-2")
    tracking.promote(first)
    client.set_registered_model_tag("recsys", "previous_champions", first)
    assert tracking.champion().version == first
    assert tracking.previous_champions() == []
    tracking.promote(second)
    assert tracking.previous_champions() == [first]


def test_measures_are_linked_to_the_logged_model_whenever_they_were_taken(
    tracking: Tracking, make_bundle: MakeBundle, client: MlflowClient
) -> None:
    with tracking.run("nightly", params={"seed": 7}, tags={}) as run:
        run.log_metrics({"before": 0.1}, dataset=DIGEST)
        logged = run.log_bundle(make_bundle("night-1"))
        run.log_metrics({"after": 0.2})
    model = client.get_logged_model(logged.model_id)
    assert model.status == "READY"
    assert {metric.key: metric.value for metric in model.metrics} == {"before": 0.1, "after": 0.2}
    assert model.params == {"seed": "7"}


def test_nothing_pickled_enters_mlflow(tracking: Tracking, register: Register) -> None:
    saved = tracking.bundle_directory(register("night-1")).parent
    names = {path.name for path in saved.rglob("*") if path.is_file()}
    assert {"MLmodel", "requirements.txt"} <= names
    plain = {".npy", ".json", ".jsonl"}
    assert {Path(name).suffix for name in names - {"MLmodel", "requirements.txt"}} == plain
    required = (saved / "requirements.txt").read_text().split()
    assert any(line.startswith("numpy==") for line in required)
    assert not any(line.startswith("recsys") for line in required)


def test_rows_of_single_customers_stay_out_of_mlflow(
    tracking: Tracking, make_bundle: MakeBundle, register: Register
) -> None:
    directory = make_bundle("whole", customers=True)
    local = {f"models/up_cf/{path.name}" for path in (directory / "models" / "up_cf").iterdir()}
    saved = tracking.bundle_directory(register("night-1", customers=True))
    kept = read_manifest(saved)
    assert kept.private_models == ("up_cf",)
    assert local == set(kept.files) - {
        str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()
    }
    note = json.loads((saved.parent / "kept_local.json").read_text())
    assert note["models"] == ["up_cf"]
    assert set(note["files"]) == local
    assert note["where"] == "published/bundles/night-1 below the workspace"
    code = pseudonyms_of([CUSTOMER]).tobytes()
    assert code in (directory / "models" / "up_cf" / "owners.npy").read_bytes()
    assert not any(code in path.read_bytes() for path in saved.parent.rglob("*") if path.is_file())


def test_a_version_without_its_rows_of_customers_answers_from_the_rest_and_says_so(
    register: Register, as_data_scientist: object
) -> None:
    register("night-1", customers=True)
    with pytest.warns(UserWarning, match="night-1 is without up_cf"):
        bundle = load_model("models:/recsys/1").bundle
    assert set(bundle.models) == {"random_walk", "popularity"}
    assert bundle.placements["for_you"].blend == {"random_walk": 1.0, "popularity": 0.1}
    with pytest.warns(UserWarning, match="published/bundles/night-1"):
        predictor = mlflow.pyfunc.load_model("models:/recsys/1")
    answers = predictor.predict(pd.DataFrame({"history": [["camera"]], "k": [2]}))
    assert answers["item_ids"][0] == ["lens", "tripod"]


def test_a_bundle_that_does_not_name_its_rows_of_customers_is_not_logged(
    tracking: Tracking,
    make_bundle: MakeBundle,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Neighbours(PopularityModel):
        stores_user_data: ClassVar[bool] = True

    monkeypatch.setitem(MODELS, "popularity", replace(POPULARITY, model=Neighbours))
    with (
        pytest.raises(BundleError, match="single customers"),
        tracking.run("nightly", params={}, tags={}) as run,
    ):
        run.log_bundle(make_bundle("night-1"))
    logged = client.search_logged_models([tracking.experiment_id])
    assert [model.status for model in logged] == ["FAILED"]
    assert list(Path(logged[0].artifact_location.removeprefix("file://")).glob("*")) == []


def test_figures_of_a_report_are_logged_as_pictures(
    tracking: Tracking, client: MlflowClient
) -> None:
    figures = {"value": 0.3, "low": 0.28, "high": 0.33, "baselines": {"popularity": 0.1}}
    metrics = {"recall_at_5": figures, "recall_at_20": figures, "new_items/ndcg_at_20": figures}
    with tracking.run("nightly", params={}, tags={}) as run:
        run.log_figure(plots.curve_over_k(metrics), "plots/curve.png")
        run.log_figure(plots.slices(metrics), "plots/slices.png")
        run.log_figure(plots.coverage({"coverage_at_20": 0.4, "novelty": np.nan}), "coverage.png")
        run.log_figure(plots.slices({}), "plots/empty.png")
    for name in ("plots/curve.png", "plots/slices.png", "coverage.png", "plots/empty.png"):
        assert artifact(client, run.run_id, name).read_bytes().startswith(b"\x89PNG")


def test_what_changed_is_drawn_about_no_difference() -> None:
    changes = {
        "recall_at_20": Estimate(0.02, 0.01, 0.03, 50),
        "ndcg_at_20": Estimate(0.01, -0.01, 0.03, 50),
        "cold_items/recall_at_20": Estimate(np.nan, np.nan, np.nan, 0),
    }
    (panel,) = plots.differences(changes, title="candidate minus champion").axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["recall_at_20", "ndcg_at_20"]
    drawn = [line.get_xdata() for line in panel.get_lines()]
    assert [0.01, 0.03] in [list(line) for line in drawn]
    colours = [line.get_color() for line in panel.get_lines()]
    assert colours[0] != colours[2]


def test_the_curve_shows_each_measure_over_k_beside_its_baselines() -> None:
    figures = {"value": 0.3, "baselines": {"popularity": 0.1}}
    figure = plots.curve_over_k(
        {"ndcg_at_20": figures, "ndcg_at_5": figures, "rebuys/ndcg_at_5": figures}
    )
    (panel,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    assert lines == {
        "candidate": [[5, 0.3], [20, 0.3]],
        "popularity": [[5, 0.1], [20, 0.1]],
    }


def test_a_data_scientist_predicts_with_the_champion_through_mlflow_alone(
    tracking: Tracking, register: Register, as_data_scientist: object
) -> None:
    tracking.promote(register("night-1"))
    model = mlflow.pyfunc.load_model("models:/recsys@champion")
    answers = model.predict(
        pd.DataFrame(
            [
                {"history": ["camera", "unknown"], "k": 2},
                {"seeds": ["camera"], "placement": "similar", "k": 1},
                {"country": "NL"},
            ],
            index=[7, 8, 9],
        )
    )
    assert answers.index.tolist() == [7, 8, 9]
    assert answers["item_ids"].tolist()[0] == ["lens", "tripod"]
    assert answers["item_ids"].tolist()[1] == ["lens"]
    assert answers["item_ids"].tolist()[2][0] == "mug"
    assert answers["sources"].tolist()[0] == ["random_walk", "random_walk"]
    scores = answers["scores"].tolist()[0]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"histroy": ["camera"]}, "histroy"),
        ({"history": "camera"}, "column 'history' of row 0"),
        ({"k": 0}, "column 'k' of row 0"),
        ({"user_id": "c-1"}, "open the workspace"),
        ({"placement": "homepage"}, "placement"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_its_column(
    make_bundle: MakeBundle, question: dict[str, object], field: str
) -> None:
    predictor = BundlePredictor.load(make_bundle("night-1"))
    with pytest.raises(InvalidInput, match=field):
        predictor.predict(pd.DataFrame([question]))


AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
"""The moment of the bundles that `make_bundle` writes."""


def test_mlflow_refuses_a_column_that_does_not_exist_by_name(
    tracking: Tracking, register: Register, as_data_scientist: object
) -> None:
    tracking.promote(register("night-1"))
    model = mlflow.pyfunc.load_model("models:/recsys@champion")
    with pytest.raises(InvalidInput, match="'histroy'; do you mean history"):
        model.predict(pd.DataFrame({"histroy": [["camera"]]}))


def test_a_history_has_kinds_and_times(
    tracking: Tracking, register: Register, as_data_scientist: object
) -> None:
    tracking.promote(register("night-1"))
    model = mlflow.pyfunc.load_model("models:/recsys@champion")
    row = {
        "history": ["camera"],
        "kinds": ["view_item"],
        "times": ["2026-10-30T10:00:00Z"],
        "k": 1,
    }
    assert model.predict(pd.DataFrame([row]))["item_ids"].tolist() == [["lens"]]
    with pytest.raises(InvalidInput, match="'looked'"):
        model.predict(pd.DataFrame([{**row, "kinds": ["looked"]}]))
    asked_before = model.predict(pd.DataFrame([row]), params={"as_of": "2026-10-01T00:00:00Z"})
    assert asked_before["item_ids"].tolist() == [["mug"]]
    with pytest.raises(InvalidInput, match="with a zone"):
        model.predict(pd.DataFrame([row]), params={"as_of": "2026-10-01"})


def test_a_user_id_is_looked_up_in_the_workspace_that_is_named(
    tracking: Tracking, register: Register, workspace: Workspace, as_data_scientist: object
) -> None:
    tracking.promote(register("night-1"))
    store = SQLiteStore(workspace.store)
    camera = Event(
        event_id="e",
        event="purchase",
        timestamp=AS_OF,
        user_id="c-1",
        items=[EventItem(item_id="camera")],
        consent=Consent(personalization=True),
    )
    store.append([camera], received_at=AS_OF)
    store.close()
    model = mlflow.pyfunc.load_model("models:/recsys@champion")
    asked = pd.DataFrame({"user_id": ["c-1", "c-2"], "k": [1, 1]})
    with pytest.raises(InvalidInput, match="open the workspace"):
        model.predict(asked)
    answers = model.predict(asked, params={"workspace": str(workspace.root)})
    assert answers["item_ids"].tolist() == [["lens"], ["mug"]]


def test_a_bundle_logged_from_a_notebook_can_be_registered_and_loaded_as_a_bundle(
    tracking: Tracking, make_bundle: MakeBundle, as_data_scientist: object
) -> None:
    with mlflow.start_run(experiment_id=tracking.experiment_id):
        info = log_model(make_bundle("by-hand"), registered_model_name="trial")
    assert info.registered_model_version == 1
    assert load_model("models:/trial/1").bundle.model_version == "by-hand"


def test_a_damaged_model_is_refused_when_it_is_loaded(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    save_model(make_bundle("night-1"), tmp_path / "saved")
    array = next((tmp_path / "saved" / "bundle" / "models" / "popularity").glob("*.npy"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    # A saved model shares its files with the bundle, which other tests read.
    array.unlink()
    array.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        mlflow.pyfunc.load_model(str(tmp_path / "saved"))


def test_nothing_is_written_outside_the_workspace(
    tracking: Tracking,
    register: Register,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracking.promote(register("night-1"))
    assert tracking.bundle_directory("1").is_relative_to(workspace.mlflow_artifacts)
    assert list((tmp_path / "elsewhere").iterdir()) == []
