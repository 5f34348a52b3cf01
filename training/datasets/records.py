"""The files of an import: its record with the consent statement, and the rejected lines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from training.datasets.findings import Rejected

EXAMPLES: Final = 3


def digest(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_down(path: Path, record: Mapping[str, object]) -> None:
    """Appends one line of JSON, durably."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(record, enc_hook=str) + b"\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass(slots=True)
class RejectedLines:
    """The file of rejected lines, with the reason; made with the first of them.

    A file of the same name is from an earlier import of the same content and is replaced.
    """

    path: Path
    lines: int = 0
    examples: list[str] = field(default_factory=list)
    """The first few, to be shown."""
    _file: IO[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        return self

    def add(self, rejected: Rejected) -> None:
        """Writes the line's number, reason and text."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
        record = {"line": rejected.line, "reason": rejected.reason, "raw": rejected.raw}
        self._file.write(msgspec.json.encode(record) + b"\n")
        self.lines += rejected.lines
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"line {rejected.line}: {rejected.reason}")

    @property
    def written(self) -> Path | None:
        """The file, or None where nothing was rejected."""
        return None if self._file is None else self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
