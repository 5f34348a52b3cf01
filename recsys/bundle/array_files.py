"""The arrays of a bundle as plain `.npy` files, memory-mapped when they are read."""

from __future__ import annotations

import hashlib
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


def sha256(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
