"""`python -m serving doctor`: checks what the service needs before it starts, with remedies.

Nothing is changed: no table is created, no bundle swapped, and a running service goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NoReturn

import apsw
import msgspec

from recsys.bundle.publication import bundle_directory, read_publication
from recsys.bundle.save_load import load_bundle
from recsys.errors import InvalidConfig, RecsysError
from recsys.events.schema import Person
from recsys.models.registry import declare_families
from recsys.store.sqlite import SQLiteStore
from recsys.store.sqlite_schema import APPLICATION_ID, SCHEMA_VERSION, check_library
from serving.config import API_KEY_VARIABLE, ServingConfig, load_config

FREE_BYTES: Final = 1 << 30
"""Free disk space that the workspace needs."""
LIBRARIES: Final = {
    "bentoml": ((1, 4, 39), (1, 5)),
    "numpy": ((2, 1), (3,)),
    "scipy": ((1, 14), (2,)),
    "numba": ((0, 60), None),
    "msgspec": ((0, 19), None),
    "apsw": ((3, 51, 3), None),
    "lightgbm": ((4, 5), (5,)),
    "uvloop": ((0, 21), None),
    "httptools": ((0, 6), None),
}
"""Library → the lowest supported version, and the first that is not supported any more."""
EXAMPLES: Final = """examples:
  recsys doctor                                       the workspace .recsys, port 3000
  recsys doctor --config configs/serving.yaml         as the service would be started
  recsys doctor --workspace /srv/shop --max-age-days 2
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check; `message` describes the state, or what is wrong and the remedy."""

    subject: str
    passed: bool
    message: str


def main(arguments: Sequence[str]) -> NoReturn:
    """Prints a line per finding; exit code 0 where all is well, else 1."""
    options = _parser().parse_args(arguments)
    findings = list(run_checks(options))
    for finding in findings:
        verdict = "PASS" if finding.passed else "FAIL"
        sys.stdout.write(f"{verdict}  {finding.subject}: {finding.message}\n")
    failures = sum(not finding.passed for finding in findings)
    sys.stdout.write("All is well.\n" if not failures else f"{failures} to mend.\n")
    sys.exit(1 if failures else 0)


def run_checks(options: argparse.Namespace) -> Iterator[Finding]:
    """A finding per check; a wrong configuration ends the checks."""
    yield _check("libraries", _libraries)
    overrides = {
        name: value
        for name in ("workspace", "host", "port")
        if (value := getattr(options, name)) is not None
    }
    try:
        config = load_config(
            options.config, overrides=overrides, api_key=os.environ.get(API_KEY_VARIABLE)
        )
        config.check_exposure()
    except InvalidConfig as error:
        yield Finding("configuration", False, str(error))
        return
    yield Finding("configuration", True, str(options.config or "the defaults"))
    yield _check("workspace", lambda: _workspace(config))
    yield _check("store", lambda: _store(config))
    yield from _bundles(config, max_age_days=options.max_age_days)
    yield _check("port", lambda: _port(config))
    yield _check("MLflow", lambda: _mlflow(config.workspace / "mlflow.sqlite"))


class _Failure(Exception):
    """A check that did not pass: what is wrong, and the remedy."""


def _check(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except (_Failure, RecsysError) as error:
        return Finding(subject, False, str(error))


def _libraries() -> str:
    wrong = []
    for name, (least, beyond) in LIBRARIES.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        numbers = tuple(int(part) for part in installed.split(".")[:3] if part.isdigit())
        if numbers < least or (beyond is not None and numbers >= beyond):
            wrong.append(f"{name} is {installed}")
    if wrong:
        raise _Failure(f"{', '.join(wrong)}; install what requirements.lock says")
    check_library()
    return f"Python {sys.version.split()[0]}, BentoML {version('bentoml')}, all within bounds"


def _workspace(config: ServingConfig) -> str:
    workspace = config.workspace
    if not workspace.is_dir():
        raise _Failure(
            f"{workspace} is not there; run `recsys nightly` or name another --workspace"
        )
    if not os.access(workspace, os.W_OK):
        raise _Failure(f"{workspace} cannot be written by this user; change its owner")
    free = shutil.disk_usage(workspace).free
    if free < FREE_BYTES:
        raise _Failure(
            f"the disk below {workspace} has {free >> 20} MB left; free at least 1024 MB"
        )
    return f"{workspace.resolve()}, {free >> 30} GB free"


def _store(config: ServingConfig) -> str:
    path = config.store_path
    if not path.exists():
        return f"{path} is not there yet; the service makes it when it starts"
    if not os.access(path, os.W_OK):
        raise _Failure(f"{path} cannot be written by this user; change its owner")
    try:
        with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
            stamps = [
                next(connection.execute(f"PRAGMA {name}"))[0]
                for name in ("application_id", "user_version")
            ]
    except apsw.Error as error:
        raise _Failure(
            f"{path} cannot be read ({error}); restore it from a backup, or import the event log "
            "into a new store"
        ) from error
    if stamps != [APPLICATION_ID, SCHEMA_VERSION]:
        raise _Failure(
            f"{path} is no event store of schema {SCHEMA_VERSION} (it says {stamps[1]}); open it "
            "with the program version that wrote it, or import the event log into a new store"
        )
    store = SQLiteStore(path, busy_timeout=config.store_write_seconds, read_timeout=1.0)
    try:
        store.person(Person("doctor", None))
        waiting = path.stat().st_size >> 20
    finally:
        store.close()
    return f"{path} opens, schema {SCHEMA_VERSION}, {waiting} MB"


def _bundles(config: ServingConfig, *, max_age_days: float) -> Iterator[Finding]:
    try:
        declare_families(config.families)
        publication = read_publication(config.published_root)
    except RecsysError as error:
        yield Finding("publication", False, str(error))
        return
    if publication is None:
        message = f"nothing in {config.published_root}; run `recsys nightly`"
        yield Finding("publication", False, message)
        return
    for variant in publication.variants:
        name = f"bundle {variant.model_version}"
        directory = bundle_directory(config.published_root, variant.model_version)
        yield _check(name, lambda directory=directory: _bundle(directory, max_age_days))  # type: ignore[misc]


def _bundle(directory: Path, max_age_days: float) -> str:
    bundle = load_bundle(directory)
    days = (datetime.now(UTC) - bundle.manifest.as_of).total_seconds() / 86400
    if days > max_age_days:
        raise _Failure(
            f"it knows nothing of the last {days:.1f} days; look at what `recsys status` says of "
            "the nightly run"
        )
    return f"checksums and schema are right, {len(bundle.items)} items, {max(days, 0):.1f} days old"


def _port(config: ServingConfig) -> str:
    host = "127.0.0.1" if config.host == "localhost" else config.host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, config.port))
        except OSError as error:
            return _in_use(host, config.port, error)
    return f"{host}:{config.port} is free"


def _in_use(host: str, port: int, error: OSError) -> str:
    shown = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{shown}:{port}/readyz", timeout=3) as answer:
            ready = msgspec.json.decode(answer.read())
        served = ", ".join(ready["model_versions"].values())
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
        raise _Failure(
            f"{host}:{port} cannot be used ({error.strerror}) and no ready service answers there; "
            "end what holds it, or give another --port"
        ) from error
    return f"{host}:{port} is in use by a ready service ({served})"


def _mlflow(path: Path) -> str:
    if not path.exists():
        return "no database yet; `recsys nightly` makes it"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        finally:
            connection.close()
    except (sqlite3.Error, TypeError) as error:
        raise _Failure(
            f"{path} cannot be read as MLflow's database ({error}); restore it from a backup, or "
            "move it away: `recsys nightly` makes a new one"
        ) from error
    return f"{path} opens, schema {revision}, {runs} runs"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recsys doctor",
        description="Looks at configuration, store, bundles, port and libraries, and says what to "
        "mend. Exit code 0 where all is well, else 1.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file, such as configs/serving.yaml")
    parser.add_argument("--workspace", help="the directory that training writes")
    parser.add_argument("--host", help="IP address that the service listens on")
    parser.add_argument("--port", type=int)
    parser.add_argument(
        "--max-age-days", type=float, default=8.0, help="how old a model may be (default 8)"
    )
    return parser
