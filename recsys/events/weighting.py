"""How much one event says: a weight per kind, halved with age. The same in training and serving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from recsys.events.schema import EVENT_KINDS

SECONDS_PER_DAY: Final = 86_400.0

DEFAULT_KIND_WEIGHTS: Final[Mapping[str, float]] = {
    "view_item": 1.0,
    "select_item": 1.0,
    "add_to_wishlist": 3.0,
    "add_to_cart": 3.0,
    "remove_from_cart": -2.0,
    "purchase": 5.0,
    "refund": -5.0,
    "feedback": 3.0,
}
"""Of `feedback` only a like that was not taken back is an event (`recsys.query.feedback`)."""


class Weighting(BaseModel):
    """weight(event) = kind_weights[kind] · 2^(−age / half_life_days); kinds not named weigh 0.

    A person's weight for an item is the sum over the events, never below zero: a refund takes a
    purchase back, it does not turn into dislike.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind_weights: dict[str, float] = Field(default_factory=lambda: dict(DEFAULT_KIND_WEIGHTS))
    """Event kind to how much one event says; a kind that is not named says nothing."""
    half_life_days: float = Field(default=90.0, gt=0, allow_inf_nan=False)
    """After so many days an event says half as much."""

    @field_validator("kind_weights")
    @classmethod
    def _known_and_finite(cls, kind_weights: dict[str, float]) -> dict[str, float]:
        for kind, weight in kind_weights.items():
            if kind not in EVENT_KINDS:
                raise ValueError(f"{kind!r} is no kind of event; use {', '.join(EVENT_KINDS)}")
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {kind} is {weight}; it must be a finite number")
        return kind_weights

    def by_number(self) -> NDArray[np.float32]:
        """The weights in the order of EVENT_KINDS."""
        return np.array([self.kind_weights.get(kind, 0.0) for kind in EVENT_KINDS], np.float32)

    def weights(
        self, kinds: NDArray[np.int8], times: NDArray[np.float64], *, now: float
    ) -> NDArray[np.float32]:
        """Weights of events of these kinds at these times (epoch seconds), seen from `now`.

        An event after `now` counts as if it had just happened.
        """
        decay = half_life_decay(times, now=now, half_life_days=self.half_life_days)
        return (self.by_number()[kinds] * decay).astype(np.float32)

    def sql(self, kind: str, age_days: str) -> str:
        """The same weight as a SQL expression over a kind column and an age in days."""
        cases = " ".join(
            f"WHEN '{name}' THEN {weight!r}" for name, weight in sorted(self.kind_weights.items())
        )
        by_kind = f"(CASE {kind} {cases} ELSE 0.0 END)" if cases else "0.0"
        return f"({by_kind} * power(2.0, -greatest({age_days}, 0.0) / {self.half_life_days!r}))"


def half_life_decay(
    times: NDArray[np.float64], *, now: float, half_life_days: float
) -> NDArray[np.float64]:
    """2^(−age/half-life) per time in epoch seconds; 1 for times after `now`."""
    age_days = np.maximum(now - times, 0.0) / SECONDS_PER_DAY
    return np.asarray(np.exp2(-age_days / half_life_days))
