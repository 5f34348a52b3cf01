"""Sets: which files make one, those in the folder of public data, and how one is run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np

from recsys.errors import InvalidInput
from training.benchmark.prepared import Prepared
from training.benchmark.protocols import leave_one_out, next_basket, session, top_n
from training.benchmark.published import PUBLISHED
from training.benchmark.purchases import measure_purchases
from training.benchmark.spaces import spaces_of
from training.benchmark.table import Result
from training.benchmark.tuning.search import Budget, measure
from training.config import Recipe
from training.datasets import DataFile, ImportOptions
from training.progress import Steps

Task = Literal["top-n", "session", "next-basket", "leave-one-out", "purchases"]

NEEDED: Final[Mapping[Task, tuple[str, ...]]] = {
    "top-n": ("train", "test"),
    "session": ("train", "test"),
    "next-basket": ("history", "future"),
    "leave-one-out": ("sequences",),
    "purchases": ("events",),
}
POSSIBLE: Final[Mapping[Task, tuple[str, ...]]] = {
    "session": ("valid",),
    "leave-one-out": ("item-attributes",),
}
SHOWN: Final[Mapping[Task, tuple[str, ...]]] = {
    "top-n": ("recall_at_20", "ndcg_at_20"),
    "session": ("mrr_at_20", "hit_rate_at_20", "ndcg_at_20"),
    "next-basket": (
        "recall_at_10",
        "ndcg_at_10",
        "phr_at_10",
        "recall_at_20",
        "ndcg_at_20",
        "ndcg_over_all_at_20",
        "phr_at_20",
    ),
    "leave-one-out": (
        "hit_rate_at_5",
        "ndcg_at_5",
        "hit_rate_at_10",
        "ndcg_at_10",
        "hit_rate_at_20",
        "ndcg_at_20",
    ),
    "purchases": (
        "recall_at_20",
        "ndcg_at_20",
        "hit_rate_at_20",
        "new_items/recall_at_20",
        "new_items/ndcg_at_20",
    ),
}
"""The measures of the table; all of them go to JSON and MLflow."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One set: its task and its files by their option's name; `split` for purchases alone."""

    name: str
    task: Task
    files: Mapping[str, Path]
    split: datetime | None = None
    options: ImportOptions = field(default_factory=ImportOptions)

    def check(self) -> None:
        """InvalidInput names the first option that is missing, not of the task, or no file."""
        for name in NEEDED[self.task]:
            if name not in self.files:
                raise InvalidInput(f"--{name}", None, f"--task {self.task} needs it; give a file")
        allowed = (*NEEDED[self.task], *POSSIBLE.get(self.task, ()))
        for name, path in self.files.items():
            if name not in allowed:
                options = ", ".join(f"--{one}" for one in allowed)
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
    retail = folder / "online-retail" / "online_retail.parquet"
    known = [
        DataSet("gowalla", "top-n", {n: gowalla / f"{n}.txt.gz" for n in ("train", "test")}),
        DataSet(
            "serenade",
            "session",
            {n: serenade / f"{n}.txt.gz" for n in ("train", "valid", "test")},
        ),
        DataSet(
            "online-retail",
            "purchases",
            {"events": retail},
            datetime(2011, 11, 10, tzinfo=UTC),
            ImportOptions(protocol="anchor", consent="assumed"),
        ),
    ]
    found = [one for one in known if all(path.is_file() for path in one.files.values())]
    if not found:
        raise InvalidInput(
            "--data-dir",
            str(folder),
            "no public set is there; set RECSYS_SHARED_DATA, or give --task and its files",
        )
    return found


def run_set(
    one: DataSet,
    *,
    minutes: float,
    seed: int,
    recipe: Recipe | None,
    for_purchases: Recipe | None,
    steps: Steps,
    clock: Callable[[], float],
    at: datetime,
) -> Result:
    """One set from its files to its figures; InvalidInput where a file is malformed.

    The recipes are for `purchases` alone: one that was asked for, and one for logs without views.
    """
    one.check()
    budget = Budget.of(minutes, clock)
    if one.split is not None:
        # A table may be the export of another system, which its columns tell.
        generic = one.files["events"].suffix in (".parquet", ".csv")
        outcome, about = measure_purchases(
            DataFile(one.files["events"], "unknown" if generic else "events"),
            one.split,
            recipe=recipe,
            for_purchases=for_purchases,
            options=one.options,
            budget=budget,
            at=at,
            steps=steps,
        )
    else:
        with steps.step("read"):
            prepared = prepare(one, seed=seed)
        steps.log(prepared.about)
        about = prepared.about
        outcome = measure(
            prepared.validation,
            prepared.test,
            spaces_of(prepared.task, prepared.size),
            prepared.rules,
            budget=budget,
            seed=seed,
            steps=steps,
        )
    return Result(one.name, one.task, about, SHOWN[one.task], outcome, PUBLISHED.get(one.name, {}))


def prepare(one: DataSet, *, seed: int) -> Prepared:
    """The questions of a set; what is random follows the seed."""
    files, rng = one.files, np.random.default_rng(seed)
    if one.task == "top-n":
        return top_n.prepare(files["train"], files["test"], rng=rng)
    if one.task == "session":
        return session.prepare(files["train"], files.get("valid"), files["test"])
    if one.task == "next-basket":
        return next_basket.prepare(files["history"], files["future"], rng=rng)
    return leave_one_out.prepare(files["sequences"], files.get("item-attributes"))
