"""`recsys doctor` finds what is wrong and says what to mend."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from serving.doctor import _parser, run_checks
from tests.benchmarks import resilience
from tests.support.running_service import free_port


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a published bundle and no store yet."""
    resilience.publish(tmp_path, "a-first")
    return tmp_path


def checked(workspace: Path, *options: str) -> dict[str, tuple[bool, str]]:
    given = ["--workspace", str(workspace), "--port", str(free_port()), *options]
    return {
        finding.subject: (finding.passed, finding.message)
        for finding in run_checks(_parser().parse_args(given))
    }


def test_all_is_well_in_a_workspace_that_is_ready(workspace: Path) -> None:
    findings = checked(workspace)
    assert {subject for subject, (passed, _) in findings.items() if not passed} == set()
    assert set(findings) == {
        "libraries",
        "configuration",
        "workspace",
        "store",
        "bundle a-first",
        "port",
        "MLflow",
    }


def test_a_damaged_bundle_is_found(workspace: Path) -> None:
    file = workspace / "published" / "bundles" / "a-first" / "models" / "popularity" / "scores.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    passed, message = checked(workspace)["bundle a-first"]
    assert not passed
    assert "scores.npy" in message


def test_a_model_that_is_too_old_is_found(workspace: Path) -> None:
    passed, message = checked(workspace, "--max-age-days", "0")["bundle a-first"]
    assert not passed
    assert "recsys status" in message


def test_nothing_published_is_found(tmp_path: Path) -> None:
    passed, message = checked(tmp_path)["publication"]
    assert not passed
    assert "recsys nightly" in message


def test_a_missing_workspace_is_found(tmp_path: Path) -> None:
    passed, _ = checked(tmp_path / "nowhere")["workspace"]
    assert not passed


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_store_is_found(workspace: Path, content: bytes) -> None:
    (workspace / "store.sqlite").write_bytes(content)
    passed, message = checked(workspace)["store"]
    assert not passed
    assert "store" in message


def test_a_database_that_is_not_mlflows_is_found(workspace: Path) -> None:
    sqlite3.connect(workspace / "mlflow.sqlite").close()
    (workspace / "mlflow.sqlite").touch()
    passed, message = checked(workspace)["MLflow"]
    assert not passed
    assert "mlflow.sqlite" in message


def test_a_port_that_somebody_else_holds_is_found(workspace: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        holder.settimeout(0)
        passed, message = checked(workspace, "--port", str(holder.getsockname()[1]))["port"]
    assert not passed
    assert "--port" in message


def test_a_wrong_key_of_the_configuration_is_found(workspace: Path) -> None:
    config = workspace / "serving.yaml"
    config.write_text("wokers: 2\n")
    passed, message = checked(workspace, "--config", str(config))["configuration"]
    assert not passed
    assert "wokers" in message


def test_the_exit_code_says_whether_something_is_to_be_mended(workspace: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving", "doctor", "--port", str(free_port()), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    passed = run("--workspace", str(workspace))
    assert passed.returncode == 0
    assert "All is well." in passed.stdout
    ill = run("--workspace", str(workspace / "nowhere"))
    assert ill.returncode == 1
    assert "FAIL  workspace" in ill.stdout
    assert "examples:" in run("--help").stdout
