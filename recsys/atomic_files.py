"""Files and folders that readers see whole or not at all: written beside, synced, renamed.

What is being written has the name `.NAME.NUMBER.PID.writing` in the folder of its target, so that
two writers never share a file and what a killed one left can be recognised and removed.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SUFFIX: Final = "writing"
_numbers = itertools.count()


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file in one durable step; its folder must exist."""
    with atomic_path(path) as draft:
        draft.write_bytes(content)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A free path in the same folder, to write a file or a folder at, which then becomes `path`.

    At the end everything below it is synced, it takes the name of `path` in one step and the folder
    is synced. After an exception it is removed and `path` is as it was. A folder can only take the
    name of one that does not exist.
    """
    remove_leftovers(path.parent, of=path.name)
    draft = path_beside(path)
    try:
        yield draft
        if draft.is_dir():
            for below in draft.rglob("*"):
                sync(below)
        sync(draft)
        draft.replace(path)
    except BaseException:
        _remove(draft)
        raise
    sync(path.parent)


def path_beside(path: Path) -> Path:
    """A path in the same folder that no other writer uses."""
    return path.with_name(f".{path.name}.{next(_numbers)}.{os.getpid()}.{SUFFIX}")


def remove_leftovers(folder: Path, *, of: str | None = None) -> None:
    """Removes what writers that no longer run left in a folder: of one name, or of all."""
    name = "*" if of is None else f"{glob.escape(of)}.*"
    for left in folder.glob(f".{name}.{SUFFIX}*"):
        if not _is_running(left.name.split(".")[-2]):
            _remove(left)


def sync(path: Path) -> None:
    """Makes a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
