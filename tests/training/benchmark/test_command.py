"""`recsys benchmark` takes any set of the five tasks and writes its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from recsys.errors import InvalidInput
from recsys.synthetic import ShopConfig, make_shop, simulate
from training.benchmark.results import CHOSEN
from training.benchmark.sets import sets_in
from training.cli.app import app
from training.tracking import Tracking
from training.workspace import Workspace

pytestmark = pytest.mark.usefixtures("workspace")
"""Every command finds `tmp_path / "workspace"` with an MLflow that is set up and empty."""
RECIPE = """
recipe:
  models: {popularity: {}, repeat: {}, random_walk: {neighbours: 20}}
  placements:
    - {name: for_you, blend: {repeat: 0.5, random_walk: 0.5}, fallback: [popularity]}
  blend_search: {sweeps: 1, sample: 100}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny files of every task, in the taste of 40 users who like even or odd items."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(8)
    lists = [(2 * rng.permutation(15)[:10] + user % 2).tolist() for user in range(40)]
    for name, part in (("train", slice(0, 7)), ("test", slice(7, 10)), ("sequences", slice(None))):
        (folder / f"{name}.txt").write_text(
            "".join(
                f"{user} {' '.join(map(str, items[part]))}\n" for user, items in enumerate(lists)
            )
        )
    for name, users in (("clicks", range(30)), ("valid", range(30, 35)), ("asked", range(35, 40))):
        rows = [
            f"{user}\t{item}\t{1000 * user + position}\n"
            for user in users
            for position, item in enumerate(lists[user])
        ]
        (folder / f"{name}.txt").write_text("SessionId\tItemId\tTime\n" + "".join(rows))
    baskets = {
        str(user): [[-1], items[:3], items[2:6], items[:4], [-1]]
        for user, items in enumerate(lists)
    }
    (folder / "history.json").write_text(json.dumps(baskets))
    (folder / "future.json").write_text(
        json.dumps({str(user): [[-1], items[1:5], [-1]] for user, items in enumerate(lists)})
    )
    (folder / "attributes.json").write_text(
        json.dumps({str(item): ["even" if item % 2 == 0 else "odd"] for item in range(30)})
    )
    shop_rng = np.random.default_rng(2)
    shop = make_shop(ShopConfig(), rng=shop_rng)
    with (folder / "events.jsonl").open("wb") as file:
        for batch in simulate(shop, days=40, rng=shop_rng):
            file.writelines(msgspec.json.encode(event) + b"\n" for event in batch)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


TASKS: Mapping[str, Mapping[str, str]] = {
    "top-n": {"train": "train.txt", "test": "test.txt"},
    "session": {"train": "clicks.txt", "valid": "valid.txt", "test": "asked.txt"},
    "next-basket": {"history": "history.json", "future": "future.json"},
    "leave-one-out": {"sequences": "sequences.txt", "item-attributes": "attributes.json"},
}
NAMES = {
    "top-n": ("recall_at_20", "ndcg_at_20"),
    "session": ("mrr_at_20", "hit_rate_at_20", "ndcg_at_20"),
    "next-basket": ("recall_at_10", "ndcg_at_10", "ndcg_over_all_at_10", "phr_at_10"),
    "leave-one-out": ("hit_rate_at_10", "ndcg_at_10"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_on_files_from_a_path_and_writes_its_figures(
    task: str, files: Path, tmp_path: Path
) -> None:
    figures, ran = _run(task, files, tmp_path)
    assert len(figures["models"]) >= 5
    for row in figures["models"].values():
        assert {*NAMES[task], "seconds", "memory"} <= set(row)
    for name in NAMES[task]:
        assert 0.0 <= figures["chosen"][name] <= 1.0
    assert set(figures["blend"]) <= set(figures["models"])
    assert CHOSEN in ran.output
    # Who likes even items is never asked about an odd one: guessing finds half as much.
    assert figures["chosen"][NAMES[task][-1]] > figures["models"]["popularity"][NAMES[task][-1]]


def test_purchases_go_through_the_nights_own_trial(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    ran = _invoke(
        "--task",
        "purchases",
        *("--events", files / "events.jsonl"),
        *("--split", f"{ShopConfig().opening + timedelta(days=30):%Y-%m-%d}"),
        *("--config", files / "recipe.yaml"),
        *("--workspace", tmp_path / "workspace"),
        *("--json", out),
    )
    assert ran.exit_code == 0, ran.output
    figures = json.loads(out.read_text())
    assert {"repeat", "random_walk"} <= set(figures["models"])
    for row in (figures["chosen"], figures["models"]["repeat"]):
        assert {"recall_at_20", "ndcg_at_20", "new_items/recall_at_20"} <= set(row)


def test_a_run_in_mlflow_holds_the_figures_and_no_user(files: Path, tmp_path: Path) -> None:
    figures, _ = _run("session", files, tmp_path)
    tracking = Tracking.of(Workspace(tmp_path / "workspace"))
    runs = tracking._client.search_runs([tracking.experiment_id])
    assert len(runs) == 1
    metrics = runs[0].data.metrics
    assert metrics["mrr_at_20"] == pytest.approx(figures["chosen"]["mrr_at_20"])
    assert metrics["session_knn/mrr_at_20"] == pytest.approx(
        figures["models"]["session_knn"]["mrr_at_20"]
    )
    assert runs[0].data.params["task"] == "session"
    table = (tmp_path / "workspace" / "benchmark.md").read_text()
    assert "| session_knn |" in table
    assert "cores" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "top-n", "--train", "train.txt"), "--test"),
        (("--task", "top-n", "--train", "train.txt", "--test", "absent.txt"), "no such file"),
        (("--task", "session", "--history", "history.json"), "--train"),
        (
            ("--task", "leave-one-out", "--sequences", "sequences.txt", "--test", "test.txt"),
            "takes --sequences",
        ),
        (("--train", "train.txt"), "say what --train is for"),
        (("--task", "purchases", "--events", "events.jsonl"), "--split"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(
    arguments: tuple[str, ...], message: str, files: Path, tmp_path: Path
) -> None:
    paths = [files / value if "." in value else value for value in arguments]
    ran = _invoke(*paths, "--workspace", tmp_path / "workspace")
    assert isinstance(ran.exception, InvalidInput)
    assert message in str(ran.exception)


def test_a_malformed_file_ends_with_its_line(files: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text("1 2 3\n1 4 5\n")
    ran = _invoke(
        *("--task", "top-n", "--train", broken, "--test", files / "test.txt"),
        *("--workspace", tmp_path / "workspace"),
    )
    assert isinstance(ran.exception, InvalidInput)
    assert "broken.txt, line 2" in str(ran.exception)


def test_the_public_sets_are_found_in_the_shared_folder(shared_data: Path) -> None:
    tasks = {data_set.name: data_set.task for data_set in sets_in(shared_data)}
    assert tasks == {"gowalla": "top-n", "serenade": "session", "online-retail": "purchases"}


def test_a_folder_without_public_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no public set is there"):
        sets_in(tmp_path)


def _run(task: str, files: Path, folder: Path) -> tuple[dict[str, Any], Result]:
    out = folder / "figures.json"
    options = [o for name, file in TASKS[task].items() for o in (f"--{name}", files / file)]
    ran = _invoke(
        *("--task", task, *options, "--minutes", "0"),
        *("--workspace", folder / "workspace", "--json", out),
    )
    assert ran.exit_code == 0, ran.output
    return json.loads(out.read_text()), ran


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
