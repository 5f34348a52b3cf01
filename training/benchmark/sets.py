"""The sets of a benchmark: which files make one, the public ones in a folder, how one is run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np

from recsys.errors import InvalidInput
from training.benchmark import purchases
from training.benchmark.protocols import leave_one_out, next_basket, session, top_n
from training.benchmark.published import PUBLISHED
from training.benchmark.results import SetResult
from training.benchmark.starting_points import searches_of
from training.benchmark.task_data import PreparedSet
from training.benchmark.tuning.search import Budget, tune
from training.config import Recipe
from training.datasets import DataFile, ImportOptions
from training.progress import Steps

TaskName = Literal["top-n", "session", "next-basket", "leave-one-out", "purchases"]

REQUIRED: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "top-n": ("train", "test"),
    "session": ("train", "test"),
    "next-basket": ("history", "future"),
    "leave-one-out": ("sequences",),
    "purchases": ("events",),
}
OPTIONAL: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "session": ("valid",),
    "leave-one-out": ("item-attributes",),
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """One set: its task and its files by the name of their option; `split` for purchases alone."""

    name: str
    task: TaskName
    files: Mapping[str, Path]
    split: datetime | None = None
    options: ImportOptions = field(default_factory=ImportOptions)

    def check(self) -> None:
        """InvalidInput names the first option that is missing, not of the task, or not a file."""
        for name in REQUIRED[self.task]:
            if name not in self.files:
                raise InvalidInput(f"--{name}", None, f"--task {self.task} needs it; give a file")
        allowed = (*REQUIRED[self.task], *OPTIONAL.get(self.task, ()))
        for name, path in self.files.items():
            if name not in allowed:
                options = ", ".join(f"--{option}" for option in allowed)
                raise InvalidInput(f"--{name}", str(path), f"--task {self.task} takes {options}")
            if not path.is_file():
                raise InvalidInput(f"--{name}", str(path), "there is no such file")
        if (self.split is None) == (self.task == "purchases"):
            raise InvalidInput(
                "--split", self.split, "--task purchases needs a date, and no other task takes one"
            )

    def fingerprint(self) -> str:
        """A digest of the files' bytes."""
        digest = hashlib.sha256()
        for name, path in sorted(self.files.items()):
            digest.update(name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]


def sets_in(folder: Path) -> list[DataSet]:
    """The public sets that lie in the folder; InvalidInput where there is none."""
    gowalla, serenade = folder / "gowalla", folder / "serenade"
    public = [
        DataSet("gowalla", "top-n", {n: gowalla / f"{n}.txt.gz" for n in ("train", "test")}),
        DataSet(
            "serenade",
            "session",
            {n: serenade / f"{n}.txt.gz" for n in ("train", "valid", "test")},
        ),
        DataSet(
            "online-retail",
            "purchases",
            {"events": folder / "online-retail" / "online_retail.parquet"},
            datetime(2011, 11, 10, tzinfo=UTC),
            ImportOptions(protocol="anchor", consent="assumed"),
        ),
    ]
    present = [entry for entry in public if all(path.is_file() for path in entry.files.values())]
    if not present:
        raise InvalidInput(
            "--data-dir",
            str(folder),
            "no public set is there; set RECSYS_SHARED_DATA, or give --task and its files",
        )
    return present


def run_set(
    data_set: DataSet,
    *,
    minutes: float,
    seed: int,
    recipe: Recipe | None,
    purchases_recipe: Recipe | None,
    steps: Steps,
    clock: Callable[[], float],
    at: datetime,
) -> SetResult:
    """One set from its files to its metrics; InvalidInput where a file is malformed.

    `recipe` replaces the default one of `purchases`, `purchases_recipe` the default for logs that
    hold nothing but purchases.
    """
    data_set.check()
    budget = Budget.of(minutes, clock)
    published = PUBLISHED.get(data_set.name, {})
    if data_set.split is not None:
        # A table may be the export of another system, which its columns show.
        generic = data_set.files["events"].suffix in (".parquet", ".csv")
        tuning, about = purchases.measure(
            DataFile(data_set.files["events"], "unknown" if generic else "events"),
            data_set.split,
            recipe=recipe,
            purchases_recipe=purchases_recipe,
            options=data_set.options,
            budget=budget,
            at=at,
            steps=steps,
        )
        return SetResult(data_set.name, data_set.task, about, purchases.SHOWN, tuning, published)
    with steps.step("read"):
        prepared = prepare(data_set, seed=seed)
    steps.log(prepared.about)
    searches = searches_of(prepared.task, prepared.size)
    tuning = tune(prepared, searches, budget=budget, seed=seed, steps=steps)
    return SetResult(
        data_set.name, data_set.task, prepared.about, prepared.metrics.shown, tuning, published
    )


def prepare(data_set: DataSet, *, seed: int) -> PreparedSet:
    """The validation and test queries of a set; what is random follows the seed."""
    files, rng = data_set.files, np.random.default_rng(seed)
    if data_set.task == "top-n":
        return top_n.prepare(files["train"], files["test"], rng=rng)
    if data_set.task == "session":
        return session.prepare(files["train"], files.get("valid"), files["test"])
    if data_set.task == "next-basket":
        return next_basket.prepare(files["history"], files["future"], rng=rng)
    return leave_one_out.prepare(files["sequences"], files.get("item-attributes"))
