"""What a shop wants more of: which events count as taken, how much each counts, and whose.

clicks               what was looked at in the held-out period, each item alike
conversions          what was bought, each item alike
revenue              what was bought, by quantity · price, so that a list is good by the share of
                     the customer's spending that it foresees
returning_customers  what was bought by those who had bought only once or a few times: whoever is
                     won for the next purchase is on the way to a regular customer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.splitting import Truth
from recsys.query.query import Query

Objective = Literal["clicks", "conversions", "revenue", "returning_customers"]

TAKING: Final[Mapping[Objective, tuple[str, ...]]] = {
    "clicks": ("view_item", "select_item"),
    "conversions": ("purchase",),
    "revenue": ("purchase",),
    "returning_customers": ("purchase",),
}
"""Kinds of event that count as taking an item."""

_PRIMARY: Final[Mapping[Objective, str]] = {
    "clicks": "ndcg_at_{n}",
    "conversions": "ndcg_at_{n}",
    "revenue": "revenue_ndcg_at_{n}",
    "returning_customers": "returning_customers/ndcg_at_{n}",
}
FEW_PURCHASES: Final = 3
"""Up to so many earlier purchases a customer is one to be won back."""


def primary_measure(objective: Objective, *, n: int) -> str:
    """The measure of a report that stands for the objective, for lists of n."""
    return _PRIMARY[objective].format(n=n)


def gains(objective: Objective, taken: Truth) -> NDArray[np.float64]:
    """How much each item of the truth counts, parallel to its items, none below zero.

    Revenue that is not known, or is given back, counts 0.
    """
    if objective == "revenue":
        return np.maximum(np.nan_to_num(taken.revenues, nan=0.0), 0.0)
    return np.ones(len(taken.items))


def counts(objective: Objective, query: Query) -> bool:
    """Whether what this person takes counts."""
    return objective != "returning_customers" or bought_a_few_times(query)


def bought_a_few_times(query: Query) -> bool:
    """Whether the history holds one to FEW_PURCHASES purchases; all items of one moment are one."""
    return 1 <= len(np.unique(query.history.purchases().times)) <= FEW_PURCHASES
