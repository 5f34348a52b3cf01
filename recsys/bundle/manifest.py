"""`Manifest`: the provenance of a bundle, and the SHA-256 that each of its files must have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from recsys.bundle.array_files import sha256
from recsys.errors import BundleError

SCHEMA_VERSION: Final = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `manifest.json`.

    The bundle was fitted on events from `window_from` until `as_of`. `report` are figures of its
    evaluation, `files` maps each other file to its SHA-256.
    """

    model_version: str
    as_of: datetime
    window_from: datetime
    config_digest: str
    code_revision: str
    data_fingerprint: str = ""
    synthetic: bool = False
    report: dict[str, float] = {}
    schema_version: int = SCHEMA_VERSION
    files: dict[str, str] = {}
    private_models: tuple[str, ...] = msgspec.field(default=(), name="kept_local")
    """Models that store rows of customers: their files are never copied elsewhere."""
    families: dict[str, str] = {}
    """The models of the shop's own families: name → dotted path or entry point. A record only: what
    is loaded is what the reader's configuration names (`recsys.models.registry`)."""

    def is_private(self, file: str) -> bool:
        """Whether a file of the bundle belongs to a private model."""
        return any(file.startswith(f"models/{name}/") for name in self.private_models)


def public_files(directory: Path) -> Iterator[str]:
    """The files of a bundle directory that may be copied elsewhere, the manifest among them."""
    manifest = read_manifest(directory)
    yield "manifest.json"
    yield from (name for name in manifest.files if not manifest.is_private(name))


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone; BundleError where it is missing, damaged or of another schema."""
    try:
        raw = (directory / "manifest.json").read_bytes()
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"Bundle {directory} has no readable manifest.json: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BundleError(
            f"Bundle {directory} has schema version {manifest.schema_version}; this code reads "
            f"{SCHEMA_VERSION}. Train again with this code."
        )
    return manifest


def verify_files(directory: Path, manifest: Manifest) -> None:
    """BundleError where a file is missing, added or differs from its SHA-256 in the manifest."""
    present = {
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    } - {"manifest.json"}
    if any(manifest.is_private(name) for name in set(manifest.files) - present):
        raise BundleError(
            f"Bundle {directory} lacks files of {', '.join(manifest.private_models)}: they store "
            "rows of customers, which are kept below `published` of the workspace that trained "
            "them. Take the bundle from there, or train again."
        )
    if present != set(manifest.files):
        odd = sorted(present ^ set(manifest.files))
        raise BundleError(f"Bundle {directory}: files missing or not in the manifest: {odd[:5]}")
    for name, digest in manifest.files.items():
        if sha256(directory / name) != digest:
            raise BundleError(f"Bundle {directory}: {name} is damaged (its SHA-256 differs).")
