"""Social proof: how many customers bought an item lately, and how it was rated.

Distinct customers are counted when a bundle is built; a bundle holds no count of fewer than
`min_customers` people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Array, Numbers
from recsys.models.scoring.saved_arrays import array_of, setting_of


class SocialProofConfig(BaseModel):
    """Purchases of the last `days` are counted, and ratings of the whole training window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int = Field(default=30, ge=1, le=730)
    """Purchases of so many days are counted."""
    min_customers: int = Field(default=5, ge=2)
    """Counts of fewer distinct customers are not kept."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The counts of one item; None where they are of too few customers."""

    customers: int | None
    days: int
    rating: float | None
    ratings: int | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class SocialProof:
    """Per item the customers who bought it (`buyers`), who rated it (`raters`), and the mean of
    their newest ratings (`ratings`, NaN without); 0 where they are fewer than the minimum."""

    buyers: NDArray[np.int32]
    raters: NDArray[np.int32]
    ratings: NDArray[np.float32]
    days: int
    as_of: datetime

    def __repr__(self) -> str:
        return f"SocialProof({len(self.buyers):,} items, {self.days} days to {self.as_of:%Y-%m-%d})"

    def of(self, number: int) -> Proof | None:
        """The social proof of an item; None where too few customers bought and rated it."""
        buyers, raters = int(self.buyers[number]), int(self.raters[number])
        if not buyers and not raters:
            return None
        return Proof(
            customers=buyers or None,
            days=self.days,
            rating=round(float(self.ratings[number]), 2) if raters else None,
            ratings=raters or None,
            as_of=self.as_of,
        )

    def arrays(self) -> Mapping[str, Array]:
        """The saved form."""
        return {
            "buyers": self.buyers,
            "raters": self.raters,
            "ratings": self.ratings,
            "days": np.array(self.days),
            "as_of": np.array(self.as_of.timestamp()),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], *, n_items: int) -> SocialProof:
        """The saved counts; BundleError where an array is missing or misshapen."""
        buyers = array_of(arrays, "buyers", dimensions=1, kind="i")
        raters = array_of(arrays, "raters", dimensions=1, kind="i")
        ratings = array_of(arrays, "ratings", dimensions=1)
        if {len(buyers), len(raters), len(ratings)} != {n_items}:
            raise BundleError(
                f"The social proof is of {len(buyers)} items, the bundle has {n_items}; train anew."
            )
        as_of = datetime.fromtimestamp(setting_of(arrays, "as_of"), UTC)
        return cls(buyers, raters, ratings, int(setting_of(arrays, "days")), as_of)


def social_proof(data: TrainingData, config: SocialProofConfig) -> SocialProof:
    """Counts purchases and ratings; events without a person key are not counted."""
    timeline, n_items = data.timeline, len(data.items)
    since = data.as_of.timestamp() - config.days * SECONDS_PER_DAY
    bought = (timeline.kinds == PURCHASE) & (timeline.times >= since)
    buyers = _distinct(timeline.users[bought], timeline.items[bought], n_items)
    rated = data.ratings
    raters = np.bincount(rated.items, minlength=n_items)
    sums = np.bincount(rated.items, weights=rated.values, minlength=n_items)
    enough = raters >= config.min_customers
    means = np.full(n_items, np.nan, np.float32)
    means[enough] = sums[enough] / raters[enough]
    return SocialProof(
        buyers=np.where(buyers >= config.min_customers, buyers, 0).astype(np.int32),
        raters=np.where(enough, raters, 0).astype(np.int32),
        ratings=means,
        days=config.days,
        as_of=data.as_of,
    )


def _distinct(users: Numbers, items: Numbers, n_items: int) -> NDArray[np.int64]:
    """Number of distinct users per item."""
    pairs = np.unique(users.astype(np.int64) * n_items + items)
    return np.bincount(pairs % n_items, minlength=n_items)
