"""A file that only takes room, to be given up when something must be written on a full disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reserve:
    """`size` bytes at `path`; 0 for none."""

    path: Path
    size: int

    def lay_by(self) -> None:
        """Takes the room where it is not taken yet; a disk that has none is left as it is."""
        if not self.size or (self.path.exists() and self.path.stat().st_size >= self.size):
            return
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()

    def give_up(self) -> bool:
        """Frees the room; False where there was none."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True
