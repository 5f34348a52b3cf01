"""`FileLock`: one process at a time; the kernel frees the lock however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import RecsysError


class Locked(RecsysError):
    """Another process holds the lock."""


@dataclass(frozen=True, slots=True)
class FileLock:
    """An advisory lock on a file, which is made where missing and may be left lying.

    A process that was killed leaves the file but not the lock.
    """

    path: Path

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock; Locked where another process does."""
        descriptor = self._open()
        try:
            if not _taken(descriptor):
                raise Locked(f"{self.path} is held by another run; wait until it has ended.")
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Holds the lock, waiting for it as long as it takes."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether somebody, this process included, holds the lock now."""
        descriptor = self._open()
        try:
            return not _taken(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
