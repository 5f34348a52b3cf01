"""What is dear to build is built once in a test run, also where several processes share the run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle, save_bundle


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """The path that `build` makes, made by the first process of the run that asks for the name."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of the run; what is below it belongs to one process
    path = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = root / f"{name}.unfinished"
            build(unfinished)
            unfinished.rename(path)
    return path


def bundle_built_once(
    factory: pytest.TempPathFactory, name: str, build: Callable[[], Bundle]
) -> Bundle:
    """The bundle as it is loaded from disk, as a service has it."""
    return load_bundle(built_once(factory, name, lambda path: save_bundle(build(), path)))
