"""Puts a bundle before the service, and takes it back: directory first, pointer last.

Whatever moment a process dies at, the pointer names a bundle that is whole, and doing the same
again finishes the work. Callers hold the workspace's lock, so that two never move it at once.

MLflow's alias `champion` is the decision and the pointer follows it: `promote` and `roll_back` move
the alias and then the pointer; `settle` lets it catch up where a process died between the two.

A bundle with rows of customers is whole only in the published directory: MLflow has it without
them. Such a version can be promoted as long as its directory is among those that are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recsys.atomic_files import atomic_path, path_beside, remove_leftovers
from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import read_manifest
from recsys.bundle.publication import (
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    remove_old_bundles,
    write_publication,
)
from recsys.bundle.save_load import load_bundle
from recsys.errors import BundleError
from training.pipeline.smoke_check import smoke_check

if TYPE_CHECKING:
    from training.tracking import Tracking

CHAMPION: Final = "champion"


class RowsGone(BundleError):
    """A registered version whose rows of customers, kept on this disk alone, were removed."""


SmokeCheck = Callable[[Bundle], None]
"""Raises BundleError where a bundle that loads must not serve all the same."""


def publish(
    source: Path,
    *,
    root: Path,
    keep: int | None = 3,
    name: str = CHAMPION,
    share: float | None = None,
    check: SmokeCheck = smoke_check,
) -> Publication:
    """Serves the bundle in `source` as the variant `name`; the champion before stays for rollback.

    The bundle is copied beside, verified, checked, renamed; then the pointer moves; then the older
    directories go, but for the `keep` newest and those that the pointer names (None: none goes).
    `share` None keeps the share that the name has, 1 for a new name. BundleError leaves everything
    as it was.
    """
    version = stage(source, root=root, check=check)
    old = _readable(root)
    before = None if old is None else old.champion.model_version
    previous = None if old is None else old.previous
    if name == CHAMPION and before != version:
        previous = before
    publication = _with_variant(old, name, version, share=share, previous=previous)
    if publication != old:
        write_publication(root, publication)
    if keep is not None:
        prune(root, keep=keep)
    return publication


def rollback(root: Path, *, check: SmokeCheck = smoke_check) -> Publication:
    """Serves the champion before the present one again, from the pointer alone, without MLflow.

    BundleError where there is none, or where its directory is gone or damaged; nothing has changed
    then. A second rollback in a row has nothing to go back to and says so.
    """
    now = read_publication(root)
    if now is None or now.previous is None:
        raise BundleError(
            f"{root} remembers no champion before the present one; name one with recsys promote."
        )
    check(load_bundle(bundle_directory(root, now.previous)))
    publication = _with_variant(now, CHAMPION, now.previous, share=None, previous=None)
    write_publication(root, publication)
    return publication


def stage(source: Path, *, root: Path, check: SmokeCheck = smoke_check) -> str:
    """Lays a bundle beside those that serve, verified and checked; gives its version.

    Nothing serves it yet. The same bundle again is only verified; one that was damaged meanwhile is
    replaced. BundleError for another bundle under the name of one that is there.
    """
    manifest = read_manifest(source)
    version = manifest.model_version
    if not version or version.startswith(".") or "/" in version:
        raise BundleError(f"Bundle {source} has the version {version!r}, which names no directory.")
    target = bundle_directory(root, version)
    if _whole(target):
        if read_manifest(target) != manifest:
            raise BundleError(f"Version {version} is published with other files; train a new one.")
        check(load_bundle(target, verify=False))
        return version
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as draft:
        shutil.copytree(source, draft)
        check(load_bundle(draft))
        _remove(target)
    return version


def prune(root: Path, *, keep: int) -> list[str]:
    """Removes bundle directories but the `keep` newest and those that the pointer names.

    Gives the removed versions. What killed processes left half-written goes too.
    """
    bundles = root / "bundles"
    publication = read_publication(root)
    named = [] if publication is None else [v.model_version for v in publication.variants]
    if publication is not None and publication.previous is not None:
        named.append(publication.previous)
    whole = [path for path in bundles.glob("*") if not path.name.startswith(".")]
    newest = sorted(whole, key=lambda path: path.stat().st_mtime, reverse=True)[:keep]
    remove_leftovers(bundles)
    return remove_old_bundles(root, keep=[*named, *(path.name for path in newest)])


def promote(
    tracking: Tracking,
    version: str,
    *,
    root: Path,
    keep: int | None = 3,
    check: SmokeCheck = smoke_check,
) -> Publication:
    """Makes a registered version the champion in MLflow and in the service.

    The bundle is staged and checked before anything moves, so that the alias never names a bundle
    that cannot serve.
    """
    stage(whole_bundle(tracking, version, root=root), root=root, check=check)
    tracking.promote(version)
    return _follow(tracking, root=root, keep=keep)


def roll_back(
    tracking: Tracking, *, root: Path, keep: int | None = 3, check: SmokeCheck = smoke_check
) -> Publication:
    """Makes the champion before the present one champion again in MLflow and in the service.

    Can be repeated, champion by champion; TrackingError where there is none left.
    """
    before = tracking.previous_champions()
    if before:
        stage(whole_bundle(tracking, before[-1], root=root), root=root, check=check)
    tracking.rollback()
    return _follow(tracking, root=root, keep=keep)


def settle(
    tracking: Tracking, *, root: Path, keep: int | None = 3, check: SmokeCheck = smoke_check
) -> str | None:
    """Serves MLflow's champion where the pointer names another version; says what it did.

    None where there was nothing to repair. For the start of a run that holds the lock, which goes
    on where the champion's rows of customers are gone: it may well find the next one.
    """
    champion = tracking.champion()
    served = served_version(root)
    if champion is None or served == champion.model_version:
        return None
    try:
        stage(whole_bundle(tracking, champion.version, root=root), root=root, check=check)
    except RowsGone as gone:
        return f"{gone} What was served before stays."
    _follow(tracking, root=root, keep=keep)
    return (
        f"MLflow's champion is version {champion.version} ({champion.model_version}), but "
        f"{served or 'nothing'} was served: now it is served."
    )


def served_version(root: Path) -> str | None:
    """The champion that the pointer names; None where there is no pointer, or a damaged one."""
    publication = _readable(root)
    return None if publication is None else publication.champion.model_version


def _follow(tracking: Tracking, *, root: Path, keep: int | None) -> Publication:
    """Points at MLflow's champion, whose bundle is staged, and remembers the one before it."""
    champion = tracking.champion()
    if champion is None:
        raise BundleError("MLflow names no champion; promote a version with recsys promote.")
    before = tracking.previous_champions()
    previous = tracking.version(before[-1]).model_version if before else None
    if previous is not None and not bundle_directory(root, previous).is_dir():
        previous = None
    old = _readable(root)
    publication = _with_variant(
        old, CHAMPION, champion.model_version, share=None, previous=previous
    )
    if publication != old:
        write_publication(root, publication)
    if keep is not None:
        prune(root, keep=keep)
    return publication


def whole_bundle(tracking: Tracking, version: str, *, root: Path) -> Path:
    """MLflow's copy of a version; of one with rows of customers that of the published directory.

    RowsGone where that is no longer there.
    """
    logged = tracking.bundle_directory(version)
    manifest = read_manifest(logged)
    if not manifest.kept_local:
        return logged
    own = bundle_directory(root, manifest.model_version)
    if not own.is_dir():
        raise RowsGone(
            f"Version {version} ({manifest.model_version}) cannot be served any more: its models "
            f"{', '.join(manifest.kept_local)} store rows of customers, which are kept in {own} "
            "alone, and that is gone (`keep_bundles` says how many directories stay). Name a newer "
            "version, or train again."
        )
    return own


def _readable(root: Path) -> Publication | None:
    """The pointer, or None where it is missing or damaged: publishing again is the remedy."""
    try:
        return read_publication(root)
    except BundleError:
        return None


def _with_variant(
    old: Publication | None, name: str, version: str, *, share: float | None, previous: str | None
) -> Publication:
    variants = [] if old is None else list(old.variants)
    known = next((variant for variant in variants if variant.name == name), None)
    kept = 1.0 if known is None else known.share
    new = Variant(name=name, model_version=version, share=kept if share is None else share)
    if known is None:
        variants.append(new)
    else:
        variants[variants.index(known)] = new
    running = None if old is None else old.experiment
    return Publication(variants=variants, previous=previous, experiment=running)


def _whole(directory: Path) -> bool:
    """Whether a directory is there and every file of it is as its manifest says."""
    if not directory.is_dir():
        return False
    try:
        load_bundle(directory)
    except BundleError:
        return False
    return True


def _remove(directory: Path) -> None:
    """Removes a damaged version: out of the way in one step, so that none is ever half there."""
    if directory.exists():
        aside = path_beside(directory)
        directory.rename(aside)
        shutil.rmtree(aside)
