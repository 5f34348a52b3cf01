"""What a place on the page shows: which models, with which weight, and what it falls back on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["individual", "session", "page", "segment", "everybody"]
"""Where an item came from, from the most to the least personal.

`individual`: the customer's own history; `session`: an anonymous visitor's; `page`: the items of
the page or the cart; `segment`: the country or group; `everybody`: what all customers do.
"""

Repeats = Literal["allow", "exclude_purchased", "exclude_history"]


class Placement(BaseModel):
    """One place on the page.

    Score of a candidate: Σ weight · model's score / norm of that model's scores for the query, over
    the models that have an opinion. `fallback` models fill what is missing, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    blend: dict[str, float] = Field(min_length=1)
    """Model name → weight; a model with weight 0 neither retrieves nor scores."""
    fallback: tuple[str, ...] = ("popularity_by_country", "popularity")
    candidates: int = Field(default=200, ge=1, le=5000)
    """How many items each model may put forward."""
    repeats: Repeats = "allow"
    """Whether items of the person's own history may be shown."""
    engine_weight: float = Field(default=1.0, ge=0)
    """Rerank only: the weight of the search engine's own order."""
    stranger_blend: dict[str, float] = {}
    """Rerank only: the weights for who has no history, `engine` among them; where it is empty,
    those of the others."""
    max_shift: int | None = Field(default=None, ge=0)
    """Rerank only: how many places an item may move from the engine's order; None for any."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the blend that have a weight, for customers or for strangers."""
        return tuple(
            name
            for name, weight in self.blend.items()
            if weight > 0 or self.stranger_blend.get(name, 0.0) > 0
        )

    def with_blend(self, blend: Mapping[str, float]) -> Placement:
        """The same placement with other weights."""
        return self.model_copy(update={"blend": dict(blend)})


DEFAULT_PLACEMENTS: Final[tuple[Placement, ...]] = (
    Placement(
        name="for_you",
        blend={
            "session": 0.25,
            "repeat": 0.15,
            "rebuy": 0.1,
            "random_walk": 0.15,
            "als": 0.15,
            "hybrid": 0.1,
            "trending": 0.05,
            "popularity": 0.05,
        },
    ),
    Placement(name="similar", blend={"item_item": 1.0, "content": 0.5}, repeats="allow"),
    Placement(
        name="bought_together",
        blend={"bought_together": 1.0},
        fallback=("item_item", "content", "popularity_by_country", "popularity"),
    ),
    Placement(name="trending", blend={"trending": 1.0}),
    Placement(name="recently_viewed", blend={"recent": 1.0}, fallback=()),
    Placement(
        name="rerank",
        blend={
            "search_clicks": 1.0,
            "habits": 0.5,
            "random_walk": 0.5,
            "als": 0.3,
            "repeat": 0.3,
            "content": 0.2,
            "popularity": 0.4,
        },
        fallback=(),
    ),
)
