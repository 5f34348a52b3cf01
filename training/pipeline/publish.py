"""Puts a bundle before the service, and takes it back: directory first, pointer last.

Whatever moment a process dies at, the pointer names a bundle that is whole, and doing the same
again finishes the work. Callers hold the workspace's lock, so that two never move it at once.

MLflow's alias `champion` is the decision and the pointer follows it: `promote` and `roll_back` move
the alias and then the pointer; `repair_pointer` moves the pointer where a process died between the
two.

A bundle with rows of customers is whole only in the published directory: MLflow has it without
them. Such a version can be promoted as long as its directory is among those that are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from recsys.atomic_files import atomic_path, path_beside, remove_leftovers
from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import read_manifest
from recsys.bundle.publication import (
    CHAMPION,
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    remove_old_bundles,
    served_version,
    write_publication,
)
from recsys.bundle.save_load import load_bundle
from recsys.errors import BundleError
from training.pipeline.smoke_check import smoke_check
from training.tracking import Tracking


class RowsGone(BundleError):
    """A registered version whose rows of customers, kept on this disk alone, were removed."""


def promote(tracking: Tracking, version: str, *, root: Path, keep: int | None = 3) -> Publication:
    """Makes a registered version the champion in MLflow and in the service.

    Its bundle is staged first, so that the alias never names a bundle that cannot serve. All but
    the `keep` newest directories and those that the pointer names are removed (None: none is).
    """
    stage(whole_bundle(tracking, version, root=root), root=root)
    return make_champion(tracking, version, root=root, keep=keep)


def make_champion(tracking: Tracking, version: str, *, root: Path, keep: int | None) -> Publication:
    """Moves MLflow's alias and then the pointer to a version whose bundle was staged before.

    BundleError, with nothing moved, where it was not.
    """
    model_version = tracking.version(version).model_version
    if not bundle_directory(root, model_version).is_dir():
        raise BundleError(f"Version {version} ({model_version}) is not staged in {root}.")
    tracking.promote(version)
    return _point_at_champion(tracking, root=root, keep=keep)


def roll_back(tracking: Tracking, *, root: Path, keep: int | None = 3) -> Publication:
    """Makes the champion before the present one champion again in MLflow and in the service.

    Can be repeated, champion by champion; TrackingError where there is none left.
    """
    before = tracking.previous_champions()
    if before:
        stage(whole_bundle(tracking, before[-1], root=root), root=root)
    tracking.rollback()
    return _point_at_champion(tracking, root=root, keep=keep)


def repair_pointer(tracking: Tracking, *, root: Path, keep: int | None = 3) -> str | None:
    """Serves MLflow's champion where the pointer names another version; describes what it did.

    None where there was nothing to repair. For the start of a run that holds the lock. A champion
    whose rows of customers are gone is reported and not served: the run may well end with another.
    """
    champion = tracking.champion()
    served = served_version(root)
    if champion is None or served == champion.model_version:
        return None
    try:
        stage(whole_bundle(tracking, champion.version, root=root), root=root)
    except RowsGone as gone:
        return f"{gone} What was served before stays."
    _point_at_champion(tracking, root=root, keep=keep)
    return (
        f"MLflow's champion is version {champion.version} ({champion.model_version}), but "
        f"{served or 'nothing'} was served: now it is served."
    )


def stage(source: Path, *, root: Path) -> str:
    """Copies a bundle beside those that serve, verifies and smoke-checks the copy; its version.

    Nothing serves it yet. A copy that is there already is verified and checked again, one that was
    damaged meanwhile is replaced. BundleError, with nothing left behind, where the copy is damaged
    or fails the smoke check, and for another bundle under the version of one that is there.
    """
    manifest = read_manifest(source)
    version = manifest.model_version
    if not version or version.startswith(".") or "/" in version:
        raise BundleError(f"Bundle {source} has the version {version!r}, which names no directory.")
    target = bundle_directory(root, version)
    staged = _loaded(target)
    if staged is not None:
        if staged.manifest != manifest:
            raise BundleError(f"Version {version} is published with other files; train a new one.")
        smoke_check(staged)
        return version
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as draft:
        shutil.copytree(source, draft)
        smoke_check(load_bundle(draft))
        _remove(target)
    return version


def prune(root: Path, *, keep: int, also: Sequence[str] = ()) -> list[str]:
    """Removes all bundle directories but the `keep` newest, the versions `also` and those that the
    pointer names, and what killed processes left half-written; gives the removed versions."""
    bundles = root / "bundles"
    publication = read_publication(root)
    named = [] if publication is None else [v.model_version for v in publication.variants]
    if publication is not None and publication.previous is not None:
        named.append(publication.previous)
    whole = [path for path in bundles.glob("*") if not path.name.startswith(".")]
    newest = sorted(whole, key=lambda path: path.stat().st_mtime, reverse=True)[:keep]
    remove_leftovers(bundles)
    return remove_old_bundles(root, keep=[*named, *also, *(path.name for path in newest)])


def _point_at_champion(tracking: Tracking, *, root: Path, keep: int | None) -> Publication:
    """Points at MLflow's champion, whose bundle is staged, and remembers the one before it."""
    champion = tracking.champion()
    if champion is None:
        raise BundleError("MLflow names no champion; promote a version with recsys promote.")
    before = tracking.previous_champions()
    previous = tracking.version(before[-1]).model_version if before else None
    if previous is not None and not bundle_directory(root, previous).is_dir():
        previous = None
    old = _readable(root)
    publication = _with_champion(old, champion.model_version, previous=previous)
    if publication != old:
        write_publication(root, publication)
    if keep is not None:
        challenger = tracking.challenger()
        prune(root, keep=keep, also=() if challenger is None else (challenger.model_version,))
    return publication


def whole_bundle(tracking: Tracking, version: str, *, root: Path) -> Path:
    """MLflow's copy of a version; of one with rows of customers that of the published directory.

    RowsGone where that is no longer there.
    """
    logged = tracking.bundle_directory(version)
    manifest = read_manifest(logged)
    if not manifest.private_models:
        return logged
    published = bundle_directory(root, manifest.model_version)
    if not published.is_dir():
        raise RowsGone(
            f"Version {version} ({manifest.model_version}) cannot be served any more: its models "
            f"{', '.join(manifest.private_models)} store rows of customers, which are kept in "
            f"{published} alone, and that is gone (`keep_bundles` says how many directories stay). "
            "Name a newer version, or train again."
        )
    return published


def _readable(root: Path) -> Publication | None:
    """The pointer, or None where it is missing or damaged: publishing again is the remedy."""
    try:
        return read_publication(root)
    except BundleError:
        return None


def _with_champion(old: Publication | None, version: str, *, previous: str | None) -> Publication:
    """The publication with another champion; its share, other variants and a test stay."""
    variants = [] if old is None else list(old.variants)
    known = next((variant for variant in variants if variant.name == CHAMPION), None)
    if known is None:
        variants.append(Variant(name=CHAMPION, model_version=version, share=1.0))
    else:
        variants[variants.index(known)] = Variant(
            name=CHAMPION, model_version=version, share=known.share
        )
    running = None if old is None else old.experiment
    return Publication(variants=variants, previous=previous, experiment=running)


def _loaded(directory: Path) -> Bundle | None:
    """The bundle in a directory, every file verified; None where there is none or it is damaged."""
    try:
        return load_bundle(directory) if directory.is_dir() else None
    except BundleError:
        return None


def _remove(directory: Path) -> None:
    """Removes a damaged version: out of the way in one step, so that none is ever half there."""
    if directory.exists():
        aside = path_beside(directory)
        directory.rename(aside)
        shutil.rmtree(aside)
