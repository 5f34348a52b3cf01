"""A person's own words about the items of a list that is to be put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.placements import Placement
from recsys.catalog.live import LiveCatalog
from recsys.catalog.rules import Rule, Where
from recsys.ids import NONE, Numbers


@dataclass(frozen=True, slots=True)
class WordsAbout:
    """What of a list is refused (row numbers), and what its scores are multiplied with, None for
    nothing."""

    refused: Numbers
    factors: NDArray[np.float32] | None = None


def words_about(rules: Sequence[Rule], listed: Numbers, live_catalog: LiveCatalog) -> WordsAbout:
    """What a person's rules say of listed items; nothing of one that the bundle does not know."""
    if not rules:
        return WordsAbout(NONE)
    known = listed >= 0
    refused = np.zeros(len(listed), np.bool_)
    factors = np.ones(len(listed), np.float32)
    for rule in rules:
        if isinstance(rule.exclude, Where):
            refused[known] |= live_catalog.columns.mask(rule.exclude)[listed[known]]
        for boost in rule.boost:
            favoured = np.zeros(len(listed), np.bool_)
            favoured[known] = live_catalog.columns.mask(boost.where)[listed[known]]
            factors[favoured] *= np.float32(boost.factor)
    return WordsAbout(listed[refused], factors if (factors != 1.0).any() else None)


def in_order_of_the_shop(placement: Placement) -> Placement:
    """The placement with nothing in it but the engine's own order."""
    return placement.model_copy(
        update={"engine_weight": 1.0, "blend": {}, "stranger_blend": {}, "max_shift": 0}
    )
