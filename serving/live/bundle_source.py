"""`BundleSource`: follows published versions, the live catalogue, erasures and the shop's files.

A request reads `current` once, so that it never mixes two versions. A publication that cannot be
served is refused and counted; the versions before stay in service.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Publication, Variant, bundle_directory, read_publication
from recsys.catalog.items import Item
from recsys.errors import BundleError, StoreError
from recsys.store.protocol import ErasedUsers, Store
from serving.live.shop_files import ShopFiles
from serving.live.versions import LiveVersions, ServedVariant
from serving.live.warm_up import live_catalog_of, load_and_warm_up, warm_up
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

NOBODY_ERASED = ErasedUsers(-1, np.empty(0, np.uint64))


@dataclass(frozen=True, slots=True)
class Polling:
    """Seconds between two reads of the pointer, of the catalogue, and of a refused pointer."""

    bundle: float
    catalog: float
    refused: float


@dataclass(frozen=True, slots=True)
class _Refusal:
    publication: Publication | None
    reason: str
    at: float


class BundleSource:
    """Holds `current`, replaced whole at each change; threads follow what may change."""

    def __init__(
        self,
        root: Path,
        store: Store,
        *,
        metrics: Metrics,
        polling: Polling,
        stopwatch: Callable[[], float],
        files: ShopFiles | None = None,
    ) -> None:
        self.current: LiveVersions | None = None
        self._root = root
        self._store = store
        self._metrics = metrics
        self._polling = polling
        self._stopwatch = stopwatch
        self._files = files or ShopFiles(metrics=metrics)
        self._loaded: dict[str, Bundle] = {}
        self._published: dict[str, Bundle] = {}
        """The bundles in `_loaded` without the stored rows of erased users."""
        self._erased = NOBODY_ERASED
        self._publication: Publication | None = None
        self._refusal: _Refusal | None = None
        self._revision = 0
        self._swapping = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Loads what is published now, then follows it in threads."""
        self.follow_files()
        self.follow_pointer()
        for follow, seconds in (
            (self.follow_pointer, self._polling.bundle),
            (self.follow_files, self._polling.bundle),
            (self.follow_catalog, self._polling.catalog),
            (self.follow_erasures, self._polling.catalog),
        ):
            thread = threading.Thread(
                target=self._repeat, args=(follow, seconds), name=follow.__name__, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stops the threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def follow_pointer(self) -> bool:
        """Takes a new publication into service; True where the served versions were replaced."""
        publication: Publication | None = None
        try:
            publication = read_publication(self._root)
            if publication is None or publication == self._publication:
                return False
            if self._refused_lately(publication):
                return False
            self._swap(publication, self._load(publication))
        except BundleError as error:
            if publication is not None or not self._refused_lately(None):
                self._refuse(publication, str(error))
            return False
        return True

    def follow_files(self) -> bool:
        """Puts changed placements and segments in force; True where there were any."""
        settings = self._files.read()
        if settings is None:
            return False
        with self._swapping:
            published = dict(self._published)
        bundles = {}
        for version, bundle in published.items():
            bundles[version] = self._files.over(bundle, settings)
            try:
                warm_up(bundles[version])
            except Exception as error:
                self._files.refuse(f"the placements fail on {version}: {error!r}")
                return False
        with self._swapping:
            self._files.put_in_force(settings)
            if self.current is not None:
                # What was swapped or erased meanwhile gets the settings as well.
                ready = {
                    version: bundles[version]
                    if published.get(version) is bundle
                    else self._files.over(bundle)
                    for version, bundle in self._published.items()
                }
                self.current = replace(
                    self.current,
                    variants=tuple(
                        replace(variant, bundle=ready[variant.bundle.model_version])
                        for variant in self.current.variants
                    ),
                )
        return True

    def follow_catalog(self) -> bool:
        """Puts items that changed since the last call in force; True where there were any."""
        with self._swapping:
            versions = self.current
            if versions is None:
                return False
            try:
                changes = self._store.catalog_changes(since=self._revision)
            except StoreError as error:
                self._metrics.store_failures.labels("catalog_changes").inc()
                logger.warning("The catalogue's changes cannot be read: %s", error)
                return False
            if changes.revision == self._revision:
                return False
            self._revision = changes.revision
            self.current = LiveVersions(
                tuple(
                    replace(
                        variant,
                        live_catalog=variant.live_catalog.with_changes(
                            changes.items, revision=changes.revision
                        ),
                    )
                    for variant in versions.variants
                ),
                versions.experiment,
            )
            return True

    def follow_erasures(self) -> bool:
        """Drops the stored rows of users who were erased or refuse; True where there are new ones.

        Without a bundle that stores rows of customers, the store is not read.
        """
        with self._swapping:
            if not any(bundle.manifest.private_models for bundle in self._loaded.values()):
                return False
            try:
                erased = self._store.erased_users(since=self._erased.revision)
            except StoreError as error:
                self._metrics.store_failures.labels("forgotten").inc()
                logger.warning("Who was erased cannot be read: %s", error)
                return False
            if erased is None:
                return False
            self._erased = erased
            before = self._published
            self._published = {
                version: bundle.drop_users(erased.pseudonyms)
                for version, bundle in self._loaded.items()
            }
            if self.current is None or all(
                self._published[version] is bundle for version, bundle in before.items()
            ):
                return True
            self.current = replace(
                self.current,
                variants=tuple(
                    replace(
                        variant,
                        bundle=self._files.over(self._published[variant.bundle.model_version]),
                    )
                    for variant in self.current.variants
                ),
            )
            return True

    def _repeat(self, follow: Callable[[], bool], seconds: float) -> None:
        while not self._stopping.wait(seconds):
            try:
                follow()
            except Exception:
                # The thread must outlive whatever it meets; what is served stays as it is.
                logger.exception("%s failed and is tried again", follow.__name__)

    def _load(self, publication: Publication) -> tuple[tuple[Variant, Bundle], ...]:
        loaded = dict(self._loaded)
        chosen = []
        for variant in publication.variants:
            if variant.share <= 0:
                continue
            version = variant.model_version
            if version not in loaded:
                loaded[version] = load_and_warm_up(bundle_directory(self._root, version), version)
            chosen.append((variant, loaded[version]))
        if not chosen:
            raise BundleError("No published variant has a share above 0; publish again.")
        return tuple(chosen)

    def _swap(self, publication: Publication, bundles: tuple[tuple[Variant, Bundle], ...]) -> None:
        with self._swapping:
            loaded = {bundle.model_version: bundle for _, bundle in bundles}
            erased = self._erased_users(loaded)
            published = {
                version: bundle.drop_users(erased.pseudonyms) for version, bundle in loaded.items()
            }
            revision, items = self._whole_catalog()
            self.current = LiveVersions(
                tuple(
                    ServedVariant(
                        name=variant.name,
                        share=variant.share,
                        bundle=self._files.over(published[bundle.model_version]),
                        live_catalog=live_catalog_of(bundle, items, revision),
                    )
                    for variant, bundle in bundles
                ),
                publication.experiment,
            )
            self._revision = revision
            self._loaded, self._published, self._erased = loaded, published, erased
            self._publication = publication
            self._refusal = None
        self._metrics.bundles_loaded.inc()
        for variant, bundle in bundles:
            as_of = bundle.manifest.as_of.timestamp()
            self._metrics.bundle_as_of.labels(variant.name).set(as_of)
        logger.info("Serving %s", ", ".join(bundle.model_version for _, bundle in bundles))

    def _erased_users(self, loaded: Mapping[str, Bundle]) -> ErasedUsers:
        """The users whose rows must not be served; BundleError where the store cannot be read and a
        bundle stores rows of customers."""
        if not any(bundle.manifest.private_models for bundle in loaded.values()):
            return NOBODY_ERASED
        try:
            return self._store.erased_users() or NOBODY_ERASED
        except StoreError as error:
            self._metrics.store_failures.labels("forgotten").inc()
            raise BundleError(
                f"A bundle stores rows of customers, and who was erased cannot be read: {error}"
            ) from error

    def _whole_catalog(self) -> tuple[int, list[Item]]:
        """All live changes; while the store is away the bundle's own catalogue serves."""
        try:
            changes = self._store.catalog_changes(since=0)
        except StoreError as error:
            self._metrics.store_failures.labels("catalog_changes").inc()
            logger.warning("The catalogue's changes cannot be read: %s", error)
            return 0, []
        return changes.revision, list(changes.items)

    def _refused_lately(self, publication: Publication | None) -> bool:
        refusal = self._refusal
        return (
            refusal is not None
            and refusal.publication == publication
            and self._stopwatch() - refusal.at < self._polling.refused
        )

    def _refuse(self, publication: Publication | None, reason: str) -> None:
        known = self._refusal
        self._refusal = _Refusal(publication, reason, self._stopwatch())
        self._metrics.bundles_refused.inc()
        if known is None or known.reason != reason:
            logger.error("Publication refused, the version before stays: %s", reason)
