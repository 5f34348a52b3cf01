"""Which code this is: the commit of the checkout it runs from, else the installed version."""

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


def _git(*words: str, at: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(at), *words],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()
