"""`Prepared`: a set as its task made it: the validation questions and the test questions."""

from __future__ import annotations

from dataclasses import dataclass

from training.benchmark.measures import Rules
from training.benchmark.spaces import Size
from training.benchmark.task_data import BenchmarkTask


@dataclass(frozen=True, slots=True)
class Prepared:
    """Nothing of `test` may be looked at before everything is chosen on `validation`.

    `fingerprint` tells files apart, `about` says in words what was made of them.
    """

    task: str
    validation: BenchmarkTask
    test: BenchmarkTask
    rules: Rules
    size: Size
    about: str
