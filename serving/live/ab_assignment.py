"""A/B assignment: which served variant a person gets.

A person keeps a variant by a keyed hash, in every worker and after a restart, without anything
being stored. The key depends on the experiment alone, so that a nightly refit moves nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from numpy.random import Generator


def split_key(experiment_id: str | None, variant_names: Sequence[str]) -> bytes:
    """The 16-byte key of the hash: of the experiment's id, without one of the variants' names."""
    seed = "\n".join(variant_names) if experiment_id is None else experiment_id
    return hashlib.sha256(seed.encode()).digest()[:16]


def assign_variant(
    shares: Sequence[float], person_key: str | None, *, key: bytes, rng: Generator
) -> int:
    """The index of the person's variant; shares need not sum to 1.

    Without a person's key the variant is drawn at random in proportion to the shares.
    """
    if len(shares) == 1:
        return 0
    point = rng.random() if person_key is None else _hash_to_unit_interval(person_key, key)
    total = sum(shares)
    reached = 0.0
    for index, share in enumerate(shares):
        reached += share / total
        if point < reached:
            return index
    return len(shares) - 1


def _hash_to_unit_interval(person_key: str, key: bytes) -> float:
    """A number in [0, 1) that depends on the person and the key: 64 bits of a hash / 2⁶⁴."""
    digest = hashlib.blake2b(person_key.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
