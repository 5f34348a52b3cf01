"""What a plain installation leaves out: optional packages, imported where they are used.

Plain `recsys` is the library and the HTTP client. `recsys[serve]` adds the service,
`recsys[train]` the nightly run, search, MLflow and the trainers; `recsys[all]` is both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from recsys.errors import MissingExtra

EXTRA_OF: Final = {
    "apsw": "serve",
    "bentoml": "serve",
    "httptools": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvloop": "serve",
    "implicit": "train",
    "lightfm": "train",
    "lightgbm": "train",
    "matplotlib": "train",
    "mlflow": "train",
    "optuna": "train",
    "rich": "train",
    "typer": "train",
    "yaml": "serve",
}
"""Import name of an optional package → the extra that brings it."""


@contextmanager
def optional_packages(purpose: str) -> Iterator[None]:
    """Around imports of optional packages: MissingExtra names the extra where one is absent.

    `purpose` is what cannot be done without them, the subject of the message. Packages that
    EXTRA_OF does not name raise ModuleNotFoundError as usual.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise MissingExtra(purpose, package, EXTRA_OF[package]) from error


def require(package: str, *, purpose: str) -> None:
    """MissingExtra where the package of EXTRA_OF is not installed; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(purpose, package, EXTRA_OF[package])
