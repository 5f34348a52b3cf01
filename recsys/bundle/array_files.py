"""The files of a bundle: plain arrays and bytes, on disk when a call returns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys.ids import Array


def mapped_arrays(folder: Path) -> Mapping[str, Array]:
    """The arrays of a folder by name, memory-mapped and read-only."""
    return {
        path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
        for path in sorted(folder.glob("*.npy"))
    }


def write_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Writes each array as `<name>.npy` into a new folder."""
    folder.mkdir(parents=True)
    for key, array in arrays.items():
        write_array(folder / f"{key}.npy", array)


def write_array(path: Path, array: Array) -> None:
    """Writes one array, row by row in memory order."""
    with path.open("wb") as file:
        np.save(file, np.asarray(array, order="C"), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, content: bytes) -> None:
    """Writes bytes."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
