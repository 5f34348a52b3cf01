"""`Publication`: which bundles are served; bundle directories and one pointer file to them.

<root>/bundles/<model_version>/     written once, never changed
<root>/current.json                 the pointer: which versions are served, and to which share
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from recsys.atomic_files import write_atomically
from recsys.errors import BundleError

POINTER = "current.json"
CHAMPION = "champion"
"""The variant that is served where no experiment runs, and the registry's alias of its version."""
CHALLENGER = "challenger"
"""The registry's alias of the newest version that is not the champion."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is served, and the share of persons who get it."""

    name: str
    model_version: str
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment that variants are served for. Persons are assigned by its id, so that each
    experiment splits them anew."""

    id: str
    started_at: datetime


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What is served now; `previous` is the champion's version before, for rollback."""

    variants: list[Variant]
    previous: str | None = None
    experiment: Experiment | None = None

    @property
    def champion(self) -> Variant:
        """The variant with that name, else the first."""
        return next((v for v in self.variants if v.name == CHAMPION), self.variants[0])


def bundle_directory(root: Path, model_version: str) -> Path:
    """Where the bundle of a version lies."""
    return root / "bundles" / model_version


def read_publication(root: Path) -> Publication | None:
    """The pointer; None where nothing was ever published; BundleError where it is damaged."""
    path = root / POINTER
    try:
        publication = msgspec.json.decode(path.read_bytes(), type=Publication)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"Pointer {path} cannot be read: {error}; publish again.") from error
    if not publication.variants:
        raise BundleError(f"Pointer {path} names no variant; publish again.")
    return publication


def served_version(root: Path) -> str | None:
    """The champion that the pointer names; None where there is no pointer, or a damaged one."""
    try:
        publication = read_publication(root)
    except BundleError:
        return None
    return None if publication is None else publication.champion.model_version


def write_publication(root: Path, publication: Publication) -> None:
    """Replaces the pointer in one step; a reader sees the old one or the new one."""
    root.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.format(msgspec.json.encode(publication), indent=1)
    write_atomically(root / POINTER, content)


def remove_old_bundles(root: Path, *, keep: Sequence[str]) -> list[str]:
    """Removes bundle directories of versions not in `keep`; gives the removed versions."""
    removed = []
    for directory in sorted((root / "bundles").glob("*")):
        if directory.name not in keep and not directory.name.startswith("."):
            shutil.rmtree(directory)
            removed.append(directory.name)
    return removed
