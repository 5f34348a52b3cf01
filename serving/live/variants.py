"""Which version a person gets: a sticky split over what is published now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Experiment
from recsys.catalog.items import Item
from recsys.catalog.live import LiveCatalog


@dataclass(frozen=True, slots=True)
class ServedVariant:
    """One version as it is served: its bundle, and the live catalogue over it."""

    name: str
    share: float
    bundle: Bundle
    live_catalog: LiveCatalog


@dataclass(frozen=True)
class LiveVersions:
    """Everything that one request is answered from. Immutable; a swap replaces it whole."""

    variants: tuple[ServedVariant, ...]
    experiment: Experiment | None = None

    @cached_property
    def split_key(self) -> bytes:
        """The key of the hash: the experiment's id, else the variants' names; never the versions,
        so that a nightly refit moves nobody."""
        running = self.experiment
        told = "\n".join(self.model_versions) if running is None else running.id
        return hashlib.sha256(told.encode()).digest()[:16]

    @cached_property
    def model_versions(self) -> Mapping[str, str]:
        """Variant name → model version."""
        return {variant.name: variant.bundle.model_version for variant in self.variants}

    def described(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Id → item as it is served, of those that the first version knows."""
        variant = self.variants[0]
        found = {id: variant.bundle.items.number(id) for id in item_ids}
        return {id: variant.live_catalog.items[n] for id, n in found.items() if n is not None}

    def variant_of(self, person_key: str | None, *, rng: Generator) -> ServedVariant:
        """The person's variant: always the same one, in every worker, while the split lasts.

        Without a key the variant is drawn at random in proportion to the shares.
        """
        if len(self.variants) == 1:
            return self.variants[0]
        place = rng.random() if person_key is None else self._place(person_key)
        total = sum(variant.share for variant in self.variants)
        reached = 0.0
        for variant in self.variants:
            reached += variant.share / total
            if place < reached:
                return variant
        return self.variants[-1]

    def _place(self, person_key: str) -> float:
        """A number in [0, 1) that depends on the person alone: 64 bits of a keyed hash / 2⁶⁴."""
        digest = hashlib.blake2b(person_key.encode(), key=self.split_key, digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
