"""Pseudonymous owner of each stored row, so that the rows of an erased user can be removed."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np

from recsys.events.pseudonyms import Pseudonyms
from recsys.ids import Mask


@runtime_checkable
class StoresUserData(Protocol):
    """A model with `stores_user_data`: it stores visits or customers, by pseudonym."""

    def drop_users(self, users: Pseudonyms) -> Self:
        """The model without any row of these users; itself where it has none."""
        ...


def kept_rows(owners: Pseudonyms, dropped: Pseudonyms) -> Mask:
    """True for the rows whose owner is not among the dropped users."""
    return ~np.isin(owners, dropped)
