"""`data/`: the tutorial runs from first import to first A/B test, the notebook runs, and the sample
is what its command makes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from readme import ROOT, blocks

from recsys.synthetic.__main__ import sample_tables

TUTORIAL = "data/README.md"
DATA = ROOT / "data"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder with nothing but `data/`."""
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def run(command: list[str], folder: Path) -> str:
    """What the command wrote; every process that it started is ended, also where it fails."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


def as_script(port: int) -> str:
    """All blocks of the tutorial as one shell script that ends at the first failure."""
    parts = ["set -eu"]
    for block in blocks(TUTORIAL, "sh", "python"):
        if block.language == "python":
            parts.append(f"python - <<'PYTHON'\n{block.text}PYTHON")
        else:
            parts.append(block.text)
    return "\n".join(parts).replace("3000", str(port))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial asks the service by curl")
def test_the_tutorial_runs_from_first_import_to_first_experiment(scratch: Path) -> None:
    output = run(["bash", "-c", as_script(free_port())], scratch)
    assert "Published version 1." in output
    assert "Published version 2." in output
    answers = [
        json.loads(line) for line in output.splitlines() if line.startswith('{"recommendation_id"')
    ]
    before, after = (answer["placements"][0]["items"] for answer in answers)
    assert len(before) == len(after) == 3
    assert before != after
    assert "Too early" in output


def test_every_block_of_the_tutorial_is_of_a_language_that_is_run() -> None:
    assert {block.language for block in blocks(TUTORIAL)} == {"sh", "python"}


def test_the_notebook_runs_and_was_committed_with_its_outputs(scratch: Path) -> None:
    notebook = json.loads((DATA / "first_steps.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert not any(o["output_type"] == "error" for cell in cells for o in cell["outputs"])
    source = "\n\n".join("".join(cell["source"]) for cell in cells)
    output = run([sys.executable, "-c", source], scratch / "data")
    for cell in cells:
        printed = "".join("".join(o.get("text", "")) for o in cell["outputs"])
        assert printed.split("\n")[0].split("0.")[0] in output


def test_the_sample_is_what_its_command_makes() -> None:
    for name, table in sample_tables().items():
        assert pq.read_table(DATA / "sample" / f"{name}.parquet").to_pylist() == table.to_pylist()


def test_the_sample_is_small() -> None:
    size = sum(path.stat().st_size for path in (DATA / "sample").iterdir())
    assert size < 300_000
