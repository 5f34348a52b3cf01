"""A code instead of a person key: enough to find again what is somebody's, not to tell whose."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Pseudonyms = NDArray[np.uint64]
"""One code per stored row, or per person."""


def pseudonyms_of(persons: Sequence[str]) -> Pseudonyms:
    """A code per person key (`u:…`, `a:…`): 8 bytes of BLAKE2b, from which it cannot be read.

    Whoever holds a list of keys can test them, which is what erasing needs: what carries such codes
    is still personal data.
    """
    codes = b"".join(
        blake2b(person.encode(), digest_size=8, person=b"recsys-owner").digest()
        for person in persons
    )
    return np.frombuffer(codes, np.dtype("<u8")).astype(np.uint64)
