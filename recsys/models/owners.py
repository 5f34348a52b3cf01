"""Whose a stored row is, told so that an erased person's rows can be dropped and nobody read."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.query import Mask

Owners = NDArray[np.uint64]
"""One code per stored row, or per person."""


@runtime_checkable
class StoresPeople(Protocol):
    """A model with `holds_personal_rows`: it stores visits or customers, without their ids."""

    def without(self, owners: Owners) -> Self:
        """The model without any row of these owners; itself if it has none."""
        ...


def owner_codes(persons: Sequence[str]) -> Owners:
    """A code per person key (`u:…`, `a:…`): 8 bytes of BLAKE2b, from which it cannot be read.

    Whoever holds a list of keys can test them, which is what erasing needs: a bundle with such
    rows is still personal data.
    """
    codes = b"".join(
        blake2b(person.encode(), digest_size=8, person=b"recsys-owner").digest()
        for person in persons
    )
    return np.frombuffer(codes, np.dtype("<u8")).astype(np.uint64)


def kept_rows(stored: Owners, owners: Owners) -> Mask:
    """True for the stored rows that belong to none of these owners."""
    return ~np.isin(stored, owners)
