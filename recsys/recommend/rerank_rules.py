"""What rules do to a list that is reranked: refused items go last, boosts multiply scores.

Every item that was sent stays in the list, so filters, pins, quotas, diversity and exclusions by
item id have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.catalog.live import LiveCatalog
from recsys.catalog.rules import Rules, Where
from recsys.ids import Mask, Numbers


@dataclass(frozen=True, slots=True)
class RerankEffects:
    """Per item of a list whether a rule excludes it, and the product of its boost factors."""

    excluded: Mask
    factors: NDArray[np.float32]


def rerank_effects(
    rules: Iterable[Rules], listed: Numbers, live_catalog: LiveCatalog
) -> RerankEffects:
    """The effects of rules on listed items; an item that the bundle does not know (−1) has none."""
    known = listed >= 0
    excluded = np.zeros(len(listed), np.bool_)
    factors = np.ones(len(listed), np.float32)
    for rule in rules:
        if isinstance(rule.exclude, Where):
            excluded[known] |= live_catalog.columns.mask(rule.exclude)[listed[known]]
        for boost in rule.boost:
            boosted = np.zeros(len(listed), np.bool_)
            boosted[known] = live_catalog.columns.mask(boost.where)[listed[known]]
            factors[boosted] *= np.float32(boost.factor)
    return RerankEffects(excluded, factors)
