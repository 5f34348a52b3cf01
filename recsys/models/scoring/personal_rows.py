"""Whose a stored row is, told so that an erased person's rows can be dropped and nobody read."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np

from recsys.events.pseudonyms import Pseudonyms
from recsys.ids import Mask


@runtime_checkable
class StoresPeople(Protocol):
    """A model with `stores_user_data`: it stores visits or customers, without their ids."""

    def without(self, owners: Pseudonyms) -> Self:
        """The model without any row of these owners; itself if it has none."""
        ...


def kept_rows(stored: Pseudonyms, owners: Pseudonyms) -> Mask:
    """True for the stored rows that belong to none of these owners."""
    return ~np.isin(stored, owners)
