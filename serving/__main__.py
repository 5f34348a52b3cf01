"""`python -m serving`: checks the configuration, then becomes BentoML's server."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from recsys.errors import InvalidConfig, MissingExtra
from recsys.extras import optional_packages, require

try:
    with optional_packages("The service"):
        from serving.config import (
            API_KEY_VARIABLE,
            CONFIG_PATH_VARIABLE,
            OVERRIDES_VARIABLE,
            ServingConfig,
            load_config,
        )
except MissingExtra as error:
    sys.exit(f"recsys serve: {error}")

EXIT_CONFIG: Final = 2
"""The configuration is wrong or the address is taken; nothing was started."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than clients keep idle connections, so that it is they who close them."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Becomes the server and does not come back: signals and exit code are the server's own.

    `doctor` as the first argument looks at everything instead (`serving.doctor`).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["doctor"]:
        # Imported here: the server needs none of it.
        from serving import doctor

        doctor.main(given[1:])
    options = _parser().parse_args(given)
    overrides: dict[str, Any] = {
        name: value
        for name in ("workspace", "host", "port", "workers")
        if (value := getattr(options, name)) is not None
    }
    try:
        require("bentoml", purpose="The service")
        config = load_config(
            options.config, overrides=overrides, api_key=os.environ.get(API_KEY_VARIABLE)
        )
        config.check_exposure()
        _check_address(config)
        environment = _environment(config, options.config, overrides, os.environ)
    except (InvalidConfig, MissingExtra) as error:
        sys.stderr.write(f"recsys serve: {error}\n")
        sys.exit(EXIT_CONFIG)
    _print_address(config)
    command = _command(config)
    os.execve(command[0], command, environment)  # noqa: S606


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Answers over HTTP from the published model."
    )
    parser.add_argument("--config", type=Path, help="YAML file, such as configs/serving.yaml")
    parser.add_argument("--workspace", help="the directory that training writes")
    parser.add_argument("--host", help="IP address to listen on")
    parser.add_argument("--port", type=int)
    parser.add_argument("--workers", type=int, help="number of processes")
    return parser


def _check_address(config: ServingConfig) -> None:
    """InvalidConfig where the address is not this machine's or somebody listens there already."""
    host = _address(config)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, config.port))
        except OSError as error:
            raise InvalidConfig(
                "port", config.port, f"{host}:{config.port} cannot be used ({error.strerror})"
            ) from error


def _print_address(config: ServingConfig) -> None:
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    key = "an API key is required" if config.api_key else "open to this machine, no API key"
    host = f"[{config.host}]" if ":" in config.host else config.host
    sys.stdout.write(
        f"Serving on http://{host}:{config.port} with {workers}, {key}. "
        "Ctrl-C stops; /openapi.json describes the routes.\n"
    )
    sys.stdout.flush()


def _command(config: ServingConfig) -> list[str]:
    return [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:RecommendationService",
        f"--host={_address(config)}",
        f"--port={config.port}",
        f"--timeout-graceful-shutdown={config.graceful_seconds}",
        f"--timeout-keep-alive={KEEP_ALIVE_SECONDS}",
    ]


def _address(config: ServingConfig) -> str:
    # BentoML takes an address, not a name.
    return "127.0.0.1" if config.host == "localhost" else config.host


def _environment(
    config: ServingConfig,
    path: Path | None,
    overrides: Mapping[str, Any],
    environment: Mapping[str, str],
) -> dict[str, str]:
    bento_home = (config.workspace / f"bentoml-{config.port}").resolve()
    try:
        bento_home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(
            "workspace", str(config.workspace), f"it cannot be written ({error.strerror})"
        ) from error
    settings = {
        OVERRIDES_VARIABLE: json.dumps(dict(overrides)),
        # BentoML keeps the workers' metric files here: two services must not share them.
        "BENTOML_HOME": str(bento_home),
        "BENTOML_DO_NOT_TRACK": "True",
        # Requests are the parallelism: threads inside one only make the others wait.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    if path is not None:
        settings[CONFIG_PATH_VARIABLE] = str(path.resolve())
    else:
        environment = {k: v for k, v in environment.items() if k != CONFIG_PATH_VARIABLE}
    return {**environment, **settings}


if __name__ == "__main__":
    main()
