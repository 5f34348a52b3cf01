"""`LiveVersions`: the published versions as one request is answered from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Experiment
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Item
from serving.live.ab_assignment import assign_variant, split_key


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
        """The key of the assignment; never of the versions, so that a refit moves nobody."""
        experiment_id = None if self.experiment is None else self.experiment.id
        return split_key(experiment_id, list(self.model_versions))

    @cached_property
    def model_versions(self) -> Mapping[str, str]:
        """Variant name → model version."""
        return {variant.name: variant.bundle.model_version for variant in self.variants}

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The share of each variant, in their order."""
        return tuple(variant.share for variant in self.variants)

    def described(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Id → item as it is served, of those that the first version knows."""
        variant = self.variants[0]
        numbers = {id: variant.bundle.items.number(id) for id in item_ids}
        return {id: variant.live_catalog.items[n] for id, n in numbers.items() if n is not None}

    def variant_of(self, person_key: str | None, *, rng: Generator) -> ServedVariant:
        """The person's variant, the same in every worker; without a key it is drawn by `rng`."""
        index = assign_variant(self.shares, person_key, key=self.split_key, rng=rng)
        return self.variants[index]
