"""`recsys benchmark`: the command line of the benchmark."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recsys.atomic_files import write_atomically
from recsys.errors import InvalidInput
from training.benchmark.comparisons.rows import ComparisonRow, as_text
from training.benchmark.comparisons.run import extra_comparisons
from training.benchmark.results import SetResult, markdown_of, table_of
from training.benchmark.sets import DataSet, TaskName, run_set, sets_in
from training.code_revision import code_revision
from training.config import Recipe, load_config
from training.datasets import ImportOptions
from training.pipeline.report import write_summary
from training.progress import Steps
from training.tracking import Tracking
from training.workspace import Workspace

SHARED_DATA = "RECSYS_SHARED_DATA"
DEFAULT_FOLDER = Path("../shared/data")
ONLINE_RETAIL = Path("online-retail/online_retail.parquet")
RETAIL_CONFIG = Path("configs/online-retail-ranked.yaml")
DEFAULT_WORKSPACE = Workspace().root
TABLE = "benchmark.md"
LOG_WIDTH = 140


def benchmark(
    task: Annotated[
        TaskName | None, typer.Option(help="What is measured; without it, the public sets.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="top-n: `user item item …` per line; session: SessionId, ItemId, Time."),
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="session: else the newest visits of train validate.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="top-n and session: as --train.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="next-basket: JSON, user → list of baskets.")
    ] = None,
    future: Annotated[Path | None, typer.Option(help="next-basket: as --history.")] = None,
    sequences: Annotated[
        Path | None, typer.Option(help="leave-one-out: `user item item …` in order.")
    ] = None,
    item_attributes: Annotated[
        Path | None, typer.Option(help="leave-one-out: JSON, item → list of attribute ids.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="purchases: canonical events.")] = None,
    split: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="purchases: test from."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="purchases: the recipe of this YAML file.")
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Search time per set; all starts are tried.",
        ),
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of validation samples and models.")] = 7,
    data_dir: Annotated[
        Path | None, typer.Option(envvar=SHARED_DATA, help="Folder of the public sets.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write all figures here.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the tables here, as Markdown; else to the workspace.")
    ] = None,
    workspace: Annotated[
        Path, typer.Option(help="Directory whose MLflow gets a run per set.")
    ] = DEFAULT_WORKSPACE,
) -> None:
    """Measure our models by published protocols; every setting is chosen on validation data.

    Without --task the public sets in the folder are run and printed with their published figures,
    then carts, reranked search results, cold items and cold customers.

    Example: recsys benchmark --task top-n --train train.txt --test test.txt --json figures.json
    """
    files = {
        "train": train,
        "valid": valid,
        "test": test,
        "history": history,
        "future": future,
        "sequences": sequences,
        "item-attributes": item_attributes,
        "events": events,
    }
    given = {name: path for name, path in files.items() if path is not None}
    folder = data_dir or DEFAULT_FOLDER
    # A log file has no width: its tables get room.
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    tracking, at = Tracking.of(Workspace(workspace)), datetime.now(UTC)
    results: list[SetResult] = []
    for data_set in _sets(task, given, split, folder):
        console.rule(f"{data_set.name} ({data_set.task})")
        result = run_set(
            data_set,
            minutes=minutes,
            seed=seed,
            recipe=None if config is None else load_config(config).recipe,
            purchases_recipe=_purchases_recipe(),
            steps=Steps(console),
            clock=time.perf_counter,
            at=at,
        )
        console.print(table_of(result))
        _track(tracking, data_set, result, minutes=minutes, seed=seed)
        results.append(result)
    compared: list[ComparisonRow] = []
    if task is None:
        console.rule("beyond the published protocols")
        compared = extra_comparisons(folder / ONLINE_RETAIL, seed=seed, at=at, steps=Steps(console))
        text = as_text(compared)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        with tracking.run("benchmark comparisons", params={"seed": seed}, tags={}) as run:
            run.log_text(text, TABLE)
    _write_table(table or workspace / TABLE, results, compared)
    if json is not None:
        single = results[0].as_json() if task is not None else None
        write_summary(single or _summary(results, compared), json)


def _sets(
    task: TaskName | None, given: Mapping[str, Path], split: datetime | None, folder: Path
) -> list[DataSet]:
    if task is None:
        if given or split is not None:
            name = next(iter(given), "split")
            raise InvalidInput("--task", None, f"say what --{name} is for; see --help")
        return sets_in(folder)
    first = next(iter(given.values()), None)
    data_set = DataSet(
        name=task if first is None else first.resolve().parent.name,
        task=task,
        files=given,
        split=None if split is None else split.replace(tzinfo=UTC),
        options=ImportOptions(protocol="anchor", consent="assumed"),
    )
    data_set.check()
    return [data_set]


def _purchases_recipe() -> Recipe | None:
    """The recipe that is shipped for logs of purchases, where the command runs beside it."""
    return load_config(RETAIL_CONFIG).recipe if RETAIL_CONFIG.is_file() else None


def _track(
    tracking: Tracking, data_set: DataSet, result: SetResult, *, minutes: float, seed: int
) -> None:
    """One run per set: metrics, settings and lineage; nothing of single users."""
    params = {"set": data_set.name, "task": data_set.task, "minutes": minutes, "seed": seed}
    tags = {"code_revision": code_revision(), "benchmark": data_set.task}
    with tracking.run(f"benchmark {data_set.name}", params=params, tags=tags) as run:
        digest = data_set.fingerprint()
        run.log_dataset(digest, context="benchmark", profile={"about": result.about})
        run.log_metrics(result.tuning.chosen, dataset=digest)
        for name, model in result.tuning.models.items():
            measured = {f"{_plain(name)}/{key}": model.metrics[key] for key in result.shown}
            run.log_metrics({**measured, f"{_plain(name)}/seconds": model.seconds})
        run.log_dict(result.as_json(), "benchmark.json")
        run.log_text(markdown_of([result]), TABLE)


def _plain(name: str) -> str:
    """A model's name in the characters that MLflow allows."""
    return "".join(sign if sign.isalnum() or sign in "_-." else "_" for sign in name)


def _summary(results: Sequence[SetResult], compared: Sequence[ComparisonRow]) -> dict[str, Any]:
    return {
        "sets": {result.name: result.as_json() for result in results},
        "beside": [row.as_json() for row in compared],
    }


def _write_table(
    path: Path, results: Sequence[SetResult], compared: Sequence[ComparisonRow]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = markdown_of(results) + (f"\n{as_text(compared)}\n" if compared else "")
    write_atomically(path, text.encode())
