"""The service's configuration: its file, what replaces it, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.errors import InvalidConfig
from serving.config import (
    CONFIG_PATH_VARIABLE,
    OVERRIDES_VARIABLE,
    ServingConfig,
    config_from_environment,
    load_config,
)

FILE = Path(__file__).resolve().parents[2] / "configs" / "serving.yaml"


def test_the_file_in_configs_shows_every_key_with_its_default_and_a_comment() -> None:
    assert load_config(FILE) == ServingConfig()
    named = re.findall(r"^(\w+):", FILE.read_text(), flags=re.M)
    not_shown = {"api_key", "store", "published"}
    assert set(named) == set(ServingConfig.model_fields) - not_shown
    blocks = FILE.read_text().split("\n\n")[1:]
    assert all(block.startswith("#") for block in blocks)


def test_overrides_win_over_the_file_and_the_key_comes_from_the_environment(
    tmp_path: Path,
) -> None:
    path = tmp_path / "serving.yaml"
    path.write_text("port: 4000\nworkers: 3\n")
    config = config_from_environment(
        {
            CONFIG_PATH_VARIABLE: str(path),
            OVERRIDES_VARIABLE: json.dumps({"port": 4001}),
            "RECSYS_API_KEY": "s3cret",
        }
    )
    assert (config.port, config.workers) == (4001, 3)
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(config) + str(config.model_dump())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot: 3000", "prot is 3000; there is no such key"),
        ("port: 0", "port is 0; "),
        ("workers: many", "workers is 'many'; "),
        ("api_key: abc", "api_key is '***'; put it into RECSYS_API_KEY"),
        ("- a list", "config is "),
        ("port: [", "config is "),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_remedy(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "serving.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load_config(path)
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_without_a_key_the_service_listens_on_loopback_alone(host: str) -> None:
    with pytest.raises(InvalidConfig, match="RECSYS_API_KEY"):
        ServingConfig(host=host).check_exposure()
    load_config(None, overrides={"host": host}, api_key="k").check_exposure()
    for local in ("127.0.0.1", "::1", "localhost"):
        ServingConfig(host=local).check_exposure()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host=0.0.0.0"], "RECSYS_API_KEY"),
        (["--config=/no/such/file"], "config is '/no/such/file'"),
        (["--workspace=/proc/nowhere"], "workspace is '/proc/nowhere'"),
        (["--host=203.0.113.7", "--port=3999"], ""),
    ],
)
def test_the_start_refuses_a_wrong_configuration_with_exit_code_2(
    tmp_path: Path, options: list[str], named: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving", f"--workspace={tmp_path}", *options],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
