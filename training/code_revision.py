"""The revision of the running code: the checkout's commit, else the installed version."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_revision() -> str:
    """The commit, with `+` where the checkout has changes; the package version outside one."""
    here = Path(__file__).resolve().parent.parent
    try:
        commit = _git("rev-parse", "--short=12", "HEAD", at=here)
        changed = _git("status", "--porcelain", "--untracked-files=no", at=here)
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return f"recsys-{version('recsys')}"
    return commit + ("+" if changed else "")


def _git(*arguments: str, at: Path) -> str:
    ended = subprocess.run(
        ["git", "-C", str(at), *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return ended.stdout.strip()
