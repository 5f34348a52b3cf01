"""Already-bought filter: items of a person's own history that a placement does not show again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from recsys.bundle.placements import Placement
from recsys.events.schema import KIND_NUMBER, PURCHASE
from recsys.ids import NONE, Numbers
from recsys.models.protocol import Model
from recsys.models.repurchase.refill import RefillModel, due_again
from recsys.query.history import History
from recsys.query.query import Query

REFUND: Final = KIND_NUMBER["refund"]


def no_repeats(query: Query, placement: Placement, models: Mapping[str, Model]) -> Numbers:
    """Item numbers of the history that the placement does not show now, by its `repeats`.

    `models` are those of the bundle; `refill` among them knows the intervals for `when_due`.
    """
    if placement.repeats == "exclude_history":
        return query.history.items
    if placement.repeats == "exclude_purchased":
        return query.history.purchases().items
    if placement.repeats == "when_due":
        return not_due(query.history, now=query.now.timestamp(), models=models)
    return NONE


def not_due(history: History, *, now: float, models: Mapping[str, Model]) -> Numbers:
    """Purchased items that are not bought repeatedly, or whose next purchase is not due yet.

    `now` is in epoch seconds.
    """
    refill = models.get("refill")
    items, due = due_again(history, now, refill if isinstance(refill, RefillModel) else None)
    return items[~due]


def returned_items(history: History) -> Numbers:
    """Items whose newest purchase was refunded."""
    refunds = history.kinds == REFUND
    if not refunds.any():
        return NONE
    relevant = refunds | (history.kinds == PURCHASE)
    items, times = history.items[relevant], history.times[relevant]
    order = np.lexsort((refunds[relevant], times, items))
    items, is_refund = items[order], refunds[relevant][order]
    is_newest = np.append(items[1:] != items[:-1], True)
    returned: Numbers = items[is_newest & is_refund]
    return returned
