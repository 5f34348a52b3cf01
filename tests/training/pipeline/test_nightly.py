"""The nightly run: what it promotes, what it refuses, and what a killed one leaves."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from rich.console import Console

from recsys.bundle.publication import bundle_directory, read_publication
from recsys.bundle.save_load import load_bundle
from recsys.catalog.items import Item
from recsys.errors import BundleError, InvalidConfig
from recsys.models import registry
from recsys.store.sqlite import SQLiteStore
from recsys.synthetic import simulate
from training.cli.app import main
from training.config import TrainingConfig
from training.lock import FileLock, Locked
from training.pipeline import nightly
from training.pipeline.compare import compare
from training.pipeline.intake import ChecksFailed
from training.tracking import Tracking
from training.workspace import Workspace

STEPS = (
    "read", "check", "split", "rehearse", "build", "evaluate", "gate", "refit", "smoke", "register",
    "publish",
)  # fmt: skip
MODELS = {
    "popularity": {},
    "repeat": {},
    "random_walk": {},
    "trending": {},
    "recent": {},
    "item_item": {},
    "bought_together": {"min_customers": 1},
}
PLACEMENTS: list[dict[str, Any]] = [
    {"name": "for_you", "blend": {"repeat": 0.5, "random_walk": 0.4, "popularity": 0.1}},
    {"name": "similar", "blend": {"item_item": 1.0}},
    {"name": "bought_together", "blend": {"bought_together": 1.0}},
    {"name": "rerank", "blend": {"random_walk": 1.0}, "fallback": []},
]


NEARLY = [
    {"name": "for_you", "blend": {"repeat": 0.5, "random_walk": 0.39, "popularity": 0.11}},
    *PLACEMENTS[1:],
]
"""A blend that differs too little from that of PLACEMENTS to be proven as good or worse."""


def config(workspace: Path, **changes: object) -> dict[str, object]:
    """A small recipe on three models."""
    return {
        "workspace": str(workspace),
        "recipe": {
            "models": MODELS,
            "placements": PLACEMENTS,
            "blend_search": {"sweeps": 1, "placements": ["for_you"]},
            **changes,
        },
        "split": {"test_days": 14, "validation_days": 14},
        "evaluation": {"resamples": 200},
        "gate": {"resamples": 300},
    }


def quick_config(workspace: Path) -> dict[str, object]:
    """Three models, one placement and few resamples, for many nights one after the other."""
    quick = config(
        workspace,
        models={name: {} for name in PLACEMENTS[0]["blend"]},
        placements=PLACEMENTS[:1],
        blend_search={"sweeps": 0},
    )
    return {**quick, "evaluation": {"resamples": 100}, "gate": {"resamples": 100}}


def run(
    settings: dict[str, object], now: datetime, data: Path | None = None
) -> nightly.NightlyOutcome:
    return nightly.run(
        TrainingConfig.model_validate(settings),
        console=Console(quiet=True),
        started=now,
        data=data,
    )


@pytest.fixture(scope="module")
def files(small_shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop as canonical files."""
    folder = tmp_path_factory.mktemp("files")
    events = [
        event
        for batch in simulate(small_shop.shop, days=60, rng=np.random.default_rng(12))
        for event in batch
    ]
    for name, records in (("items", small_shop.shop.items), ("events", events)):
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        (folder / f"{name}.jsonl").write_bytes(lines)
    return folder


def prepared(root: Path, empty_database: Path) -> Path:
    """A workspace whose MLflow is set up and empty."""
    shutil.copy(empty_database, Workspace(root).create().mlflow_database)
    return root


@pytest.fixture(scope="module")
def first(small_shop, files: Path, tmp_path_factory: pytest.TempPathFactory, empty_database: Path):
    """A workspace after its first night, and how that ended."""
    workspace = prepared(tmp_path_factory.mktemp("first") / "ws", empty_database)
    settings = config(workspace)
    settings["evaluation"] = {"resamples": 200, "singles": True}
    return workspace, run(settings, small_shop.end, files)


@pytest.fixture(scope="module")
def second(first, small_shop, tmp_path_factory: pytest.TempPathFactory):
    """A copy of that workspace after a night with the same recipe, and how that ended."""
    workspace = tmp_path_factory.mktemp("second") / "ws"
    shutil.copytree(first[0], workspace)
    return workspace, run(config(workspace), small_shop.end)


@pytest.fixture
def after_first(first, tmp_path: Path) -> Path:
    """A copy of that workspace, free to be changed; MLflow's files keep their old place."""
    shutil.copytree(first[0], tmp_path / "ws")
    return tmp_path / "ws"


def champion(workspace: Path) -> str:
    publication = read_publication(workspace / "published")
    assert publication is not None
    return publication.champion.model_version


def test_the_first_night_ends_with_a_champion_that_is_published(first) -> None:
    workspace, outcome = first
    assert outcome.promoted
    tracked = Tracking.of(Workspace(workspace)).champion()
    assert tracked is not None
    assert tracked.version == outcome.version
    assert tracked.model_version == champion(workspace)
    bundle = load_bundle(bundle_directory(workspace / "published", champion(workspace)))
    assert bundle.manifest.report["ndcg_at_20"] == pytest.approx(
        outcome.summary["metrics"]["ndcg_at_20"]["value"]
    )


def test_the_summary_names_decision_reasons_costs_and_measures(first) -> None:
    summary = first[1].summary
    assert summary["decision"] == "promoted"
    assert summary["reasons"]
    assert [cost["name"] for cost in summary["steps"]] == list(STEPS)
    assert all(cost["seconds"] >= 0 and cost["peak_mb"] > 10 for cost in summary["steps"])
    measured = summary["metrics"]["recall_at_20"]
    assert measured["low"] <= measured["value"] <= measured["high"]
    assert "personal_frequency" in measured["baselines"]
    assert "new_items/recall_at_20" in summary["metrics"]
    json.dumps(msgspec.to_builtins(summary["data"]))


def test_the_whole_is_compared_with_each_of_its_models_alone(first) -> None:
    workspace, outcome = first
    above = outcome.summary["above_singles"]
    assert set(above) <= {"repeat", "random_walk", "popularity"}
    whole = outcome.summary["metrics"]["recall_at_20"]
    for differences in above.values():
        measured = differences["recall_at_20"]
        assert measured["low"] <= measured["value"] <= measured["high"]
        assert measured["customers"] == whole["customers"]
    assert above["popularity"]["recall_at_20"]["low"] > 0
    plots = workspace / "mlartifacts" / outcome.summary["run_id"] / "artifacts" / "plots"
    assert (plots / "above_singles" / "recall_at_20.png").is_file()


def test_the_published_bundle_has_learnt_the_held_out_days_too(first, small_shop) -> None:
    workspace, _ = first
    bundle = load_bundle(bundle_directory(workspace / "published", champion(workspace)))
    assert small_shop.end - bundle.manifest.as_of < timedelta(days=1)


def test_no_person_is_named_in_what_mlflow_keeps(first) -> None:
    workspace, _ = first
    for path in (workspace / "mlartifacts").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"c-0001" not in content, path
            assert b"v-0000" not in content, path


def test_the_same_recipe_again_is_promoted_as_not_worse(second) -> None:
    workspace, again = second
    assert again.promoted
    assert any("Same recipe, not worse" in reason for reason in again.reasons)
    assert champion(workspace) == again.summary["model_version"]


def test_a_clearly_worse_recipe_is_refused_and_the_champions_own_is_refreshed(
    first, after_first: Path, small_shop
) -> None:
    before = champion(after_first)
    worse = [{"name": "for_you", "blend": {"trending": 1.0}, "fallback": []}, *PLACEMENTS[1:]]
    refused = run(config(after_first, placements=worse), small_shop.end)
    tracking = Tracking.of(Workspace(after_first))
    assert not refused.promoted
    assert refused.version is None
    assert any("worse than the champion" in reason for reason in refused.reasons)
    assert any("refitted on the fresh data" in reason for reason in refused.reasons)
    assert refused.summary["decision"] == "refused"
    assert refused.summary["refreshed"] == refused.refreshed
    assert refused.refreshed == tracking.champion().version
    assert tracking.champion().model_version == champion(after_first) != before
    assert tracking.champion().recipe == tracking.version("1").recipe
    files = after_first / "mlartifacts" / refused.summary["run_id"] / "artifacts"
    changed = json.loads((files / "what_changed.json").read_text())
    assert changed["ndcg_at_20"]["value"] < 0
    assert (files / "plots" / "what_changed.png").is_file()


def plain(item: Item) -> Item:
    """An item as most shops describe theirs: without list price, dates, stock and attributes."""
    return Item(
        item_id=item.item_id,
        title=item.title,
        category=item.category,
        brand=item.brand,
        price=item.price,
    )


def test_a_shop_without_list_prices_and_dates_gets_a_model_from_the_default_placements(
    tmp_path: Path, files: Path, small_shop
) -> None:
    folder = shutil.copytree(files, tmp_path / "files")
    described = [msgspec.json.encode(plain(item)) + b"\n" for item in small_shop.shop.items]
    (folder / "items.jsonl").write_bytes(b"".join(described))
    settings = config(tmp_path / "ws")
    settings["recipe"] = {"blend_search": {"sweeps": 0}}
    outcome = run(settings, small_shop.end, folder)
    assert outcome.promoted, outcome.reasons
    bundle = load_bundle(bundle_directory(tmp_path / "ws/published", champion(tmp_path / "ws")))
    assert {"new_for_you", "on_sale"} <= set(bundle.placements)


def test_a_shop_whose_last_sale_ended_goes_on_renewing_its_model(
    tmp_path: Path, files: Path, small_shop
) -> None:
    blend = {"blend": {"popularity": 1.0}, "fallback": ["popularity"]}
    sale = [*PLACEMENTS, {"name": "on_sale", "shows": "on_sale", **blend}]
    settings = config(tmp_path / "ws", placements=sale)
    assert run(settings, small_shop.end, files).promoted
    store = SQLiteStore(Workspace(tmp_path / "ws").store)
    assert any(item.on_sale for item in store.items())
    store.put_items([plain(item) for item in store.items()], received_at=small_shop.end)
    store.close()
    again = run(settings, small_shop.end)
    assert again.promoted, again.reasons
    assert champion(tmp_path / "ws") == again.summary["model_version"]


def test_a_recipe_that_cannot_serve_fails_before_the_long_fits(
    tmp_path: Path, files: Path, small_shop
) -> None:
    folder = shutil.copytree(files, tmp_path / "files")
    withdrawn = [
        msgspec.json.encode(msgspec.structs.replace(item, withdrawn=True)) + b"\n"
        for item in small_shop.shop.items
    ]
    (folder / "items.jsonl").write_bytes(b"".join(withdrawn))
    with pytest.raises(BundleError, match="nothing to sell"):
        run(config(tmp_path / "ws"), small_shop.end, folder)
    status = json.loads(Workspace(tmp_path / "ws").nightly_status.read_text())
    assert status["step"] == "rehearse"


def test_five_nights_with_a_neutral_change_on_the_second_have_five_fresh_champions(
    tmp_path: Path, files: Path, small_shop
) -> None:
    served = []
    for night in range(5):
        models = MODELS if night == 0 else {**MODELS, "popularity_by_segment": {}}
        settings = config(tmp_path / "ws", models=models, blend_search={"sweeps": 0})
        outcome = run(settings, small_shop.end, files if night == 0 else None)
        assert outcome.promoted, outcome.reasons
        served.append(champion(tmp_path / "ws"))
        if night == 1:
            assert any("admitted since it was asked for" in reason for reason in outcome.reasons)
    assert len(set(served)) == 5


def test_a_refused_but_sound_candidate_is_the_challenger_of_an_experiment(
    after_first: Path, small_shop, capsys: pytest.CaptureFixture[str]
) -> None:
    before = champion(after_first)
    settings = config(after_first, seed=8)
    settings["gate"] = {"resamples": 300, "baselines": [], "guards": [], "margin": 0.0}
    settings["recipe"] |= {"placements": NEARLY, "blend_search": {"sweeps": 0}}
    outcome = run(settings, small_shop.end)
    tracking = Tracking.of(Workspace(after_first))
    assert not outcome.promoted, outcome.reasons
    assert outcome.refreshed == tracking.champion().version
    assert champion(after_first) not in (before, tracking.challenger().model_version)
    assert outcome.version == tracking.challenger().version == outcome.summary["challenger"]
    directory = bundle_directory(after_first / "published", tracking.challenger().model_version)
    assert load_bundle(directory).model_version == tracking.challenger().model_version
    shares = ("--variant", "champion=90", "--variant", "challenger=10")
    with pytest.raises(SystemExit) as ended:
        main(["experiment", "start", *shares, "--workspace", str(after_first)])
    assert ended.value.code in (0, None), capsys.readouterr()
    publication = read_publication(after_first / "published")
    assert [entry.share for entry in publication.variants] == [0.9, 0.1]


def test_a_night_that_only_registers_promotes_nothing(after_first: Path, small_shop) -> None:
    before = champion(after_first)
    outcome = nightly.run(
        TrainingConfig.model_validate(config(after_first)),
        console=Console(quiet=True),
        started=small_shop.end,
        register_only=True,
    )
    tracking = Tracking.of(Workspace(after_first))
    assert not outcome.promoted
    assert champion(after_first) == tracking.champion().model_version == before
    assert outcome.version == tracking.challenger().version != tracking.champion().version


def test_a_configured_recipe_that_cannot_serve_does_not_keep_the_champion_from_being_refreshed(
    after_first: Path, small_shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    store = SQLiteStore(Workspace(after_first).store)
    withdrawn = [msgspec.structs.replace(item, withdrawn=True) for item in store.items()[:5]]
    store.put_items(withdrawn, received_at=small_shop.end)
    store.close()
    before = champion(after_first)
    careless = {"name": "first", "blend": {"careless": 1.0}, "fallback": ["popularity"]}
    settings = config(
        after_first,
        models={**MODELS, "careless": {"family": "careless_family:FAMILY"}},
        placements=[*PLACEMENTS, careless],
    )
    outcome = run(settings, small_shop.end)
    assert "was not tried" in outcome.reasons[0]
    assert "'first' shows what is not sold" in outcome.reasons[0]
    assert champion(after_first) != before
    tracking = Tracking.of(Workspace(after_first))
    assert tracking.champion().recipe == tracking.version("1").recipe


def test_two_recipes_are_compared_on_the_same_customers(second, small_shop) -> None:
    workspace, again = second
    settings = TrainingConfig.model_validate(config(workspace, seed=8))
    assert again.version is not None
    compared = compare(again.version, "1", config=settings, now=small_shop.end)
    assert compared.same_recipe
    assert compared.differences["ndcg_at_20"].value == 0


def test_a_model_that_stores_customers_is_refused_before_anything_is_done(
    tmp_path: Path, small_shop
) -> None:
    blend = [{"name": "for_you", "blend": {"up_cf": 1.0}}]
    settings = config(tmp_path / "ws", models={**MODELS, "up_cf": {}}, placements=blend)
    with pytest.raises(InvalidConfig, match="customer_rows: true"):
        run(settings, small_shop.end)


def test_where_the_shop_allows_it_a_model_that_stores_customers_is_published_but_not_tracked(
    tmp_path: Path, files: Path, small_shop
) -> None:
    blend = {"up_cf": 0.2, "repeat": 0.5, "random_walk": 0.3, "popularity": 0.1}
    settings = config(
        tmp_path / "ws",
        models={**MODELS, "up_cf": {}},
        placements=[{"name": "for_you", "blend": blend}, *PLACEMENTS[1:]],
        blend_search={"sweeps": 0},
        customer_rows=True,
    )
    assert run(settings, small_shop.end, files).promoted
    workspace = Workspace(tmp_path / "ws")
    directory = bundle_directory(workspace.published, champion(workspace.root))
    assert "up_cf" in load_bundle(directory).models
    (logged,) = workspace.mlflow_artifacts.rglob("bundle/models")
    names = {path.name for path in logged.iterdir()}
    assert "repeat" in names
    assert "up_cf" not in names


def test_two_runs_at_once_are_refused(after_first: Path, small_shop) -> None:
    lock = FileLock(Workspace(after_first).nightly_lock)
    with lock.hold(), pytest.raises(Locked):
        run(config(after_first), small_shop.end)


def test_bad_data_stop_the_run_before_anything_is_trained(
    tmp_path: Path, small_shop, empty_database: Path
) -> None:
    workspace = prepared(tmp_path / "ws", empty_database)
    store = SQLiteStore(Workspace(workspace).store)
    day = next(iter(simulate_one_day(small_shop)))
    store.append(day, received_at=small_shop.end)
    store.close()
    with pytest.raises(ChecksFailed, match="time range"):
        run(config(workspace), small_shop.end)
    assert read_publication(workspace / "published") is None


def simulate_one_day(small_shop):
    return simulate(small_shop.shop, days=1, rng=np.random.default_rng(1))


def test_killed_at_any_step_the_champion_serves_on_and_the_next_run_succeeds(
    tmp_path: Path, small_shop, files: Path, empty_database: Path
) -> None:
    workspace = prepared(tmp_path / "ws", empty_database)
    assert run(quick_config(workspace), small_shop.end, files).promoted
    settings = tmp_path / "config.yaml"
    settings.write_text(yaml.safe_dump(quick_config(workspace)))
    before = champion(workspace)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["training.cli.app", "training.pipeline.nightly"])
    arguments = (["nightly", "--config", str(settings)],)
    for step in STEPS:
        night = processes.Process(target=main, args=arguments)
        night.start()
        reached = kill_at(step, night, Workspace(workspace).nightly_status)
        serving = champion(workspace)
        load_bundle(bundle_directory(workspace / "published", serving))
        if reached != "publish":
            assert serving == before
    last = processes.Process(target=main, args=arguments)
    last.start()
    last.join(60)
    assert last.exitcode == 0
    tracked = Tracking.of(Workspace(workspace)).champion()
    assert tracked is not None
    assert tracked.model_version == champion(workspace) != before


def kill_at(step: str, night: BaseProcess, status: Path) -> str:
    """Ends a run with SIGKILL as soon as it has begun the step; gives the step that it was in.

    A step that takes milliseconds may be over before it is seen: then it ends in the next one.
    """
    deadline = time.monotonic() + 60
    while True:
        assert night.is_alive(), f"the run ended with {night.exitcode} before {step}"
        assert time.monotonic() < deadline, f"the run never came to {step}"
        measured = json.loads(status.read_text()) if status.exists() else {}
        if measured.get("pid") == night.pid and STEPS.index(measured["step"]) >= STEPS.index(step):
            break
        time.sleep(0.002)
    night.kill()
    night.join(30)
    assert night.exitcode == -signal.SIGKILL
    return str(measured["step"])
