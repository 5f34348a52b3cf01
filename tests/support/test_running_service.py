"""What a test starts does not outlive the test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from running_service import HANG_SECONDS

RUN = """
import os, signal, subprocess, sys
from running_service import killed_with_this_process
started = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(3600)"],
    stdout=subprocess.DEVNULL,
    start_new_session=True,
)
watcher = killed_with_this_process(started.pid)
print(started.pid, flush=True)
os.kill(os.getpid(), int(sys.argv[1]))
"""
"""A test run that starts something and is then ended by a signal."""


@pytest.mark.parametrize("signal", ["2", "9", "15"])
def test_what_a_run_has_started_ends_with_it(signal: str) -> None:
    here = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())]),
    }
    run = subprocess.run(
        [sys.executable, "-c", RUN, signal], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=here, check=False,
    )  # fmt: skip
    try:
        psutil.Process(int(run.stdout)).wait(HANG_SECONDS)
    except psutil.NoSuchProcess:
        return  # gone already
