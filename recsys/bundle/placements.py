"""`Placement`: a position on a page, with the models, rules and fallback chain of its lists."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.catalog.rules import RuleList

Level = Literal["individual", "session", "page", "segment", "everybody"]
"""The levels of personalisation, the most personal first.

`individual`: the customer's own history; `session`: an anonymous visitor's; `page`: the items of
the page or the cart; `segment`: the country or group; `everybody`: what all customers do.
"""

Repeats = Literal["allow", "exclude_purchased", "exclude_history", "when_due"]
"""`when_due`: what was bought comes back when its buyer has a habit of it and it is due again."""
Shows = Literal["everything", "new", "on_sale"]
Seeds = Literal["page", "last_purchases"]


class Fatigue(BaseModel):
    """Frequency cap: an item with `times` impressions without a click, in any list, is suppressed
    until it was not shown for `rest_days`; earlier only where nothing else is left."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: int = Field(default=5, ge=1, le=100)
    """Impressions without a click after which an item rests."""
    rest_days: float = Field(default=7.0, gt=0, le=365)
    """Days without an impression that end the rest."""


class Exploration(BaseModel):
    """New items get a `share` of the positions: at most one in `every`, never above position
    `first` (0 is the top), drawn from the `pool` best new items for the person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=0.05, ge=0, le=0.5)
    """Share of the places, on average."""
    every: int = Field(default=10, ge=2)
    """At most one place in so many."""
    first: int = Field(default=3, ge=0)
    """Never above this position; 0 is the top."""
    new_days: float = Field(default=30.0, gt=0)
    """Age up to which an item counts as new."""
    pool: int = Field(default=20, ge=1, le=1000)
    """Drawn from so many new items that suit the person best."""
    models: tuple[str, ...] = ("newcomers", "hybrid", "content")
    """The models that score new items; the first in the bundle with an opinion is used."""

    @property
    def chance(self) -> float:
        """The probability that a span of `every` positions gets a new item."""
        return min(1.0, self.share * self.every)


Tone = Literal["open", "subtle"]

RERANK = "rerank"
"""The placement that orders a given list."""


class Placement(BaseModel):
    """One position on a page.

    Score of a candidate: Σ weight · model's score / norm of that model's scores for the query, over
    the models that have an opinion. `fallback` models fill what is missing, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of the placement, as requests use it."""
    blend: dict[str, float] = Field(min_length=1)
    """Model name → weight; a model with weight 0 neither retrieves nor scores."""
    fallback: tuple[str, ...] = ("popularity_by_country", "popularity")
    """Models that fill what is missing, in their order; an empty list may leave answers short."""
    candidates: int = Field(default=200, ge=1, le=5000)
    """How many items each model retrieves."""
    repeats: Repeats = "allow"
    """Whether items of the person's own history may be shown."""
    shows: Shows = "everything"
    """Which items may be shown: `new` ones of the last `new_days`, or those `on_sale`. A list of
    these holds nothing else, and is short where there are few."""
    new_days: float = Field(default=30.0, gt=0)
    """What counts as new where `shows` is `new`."""
    seeds: Seeds = "page"
    """Where the seeds come from when the request has none."""
    seed_days: float = Field(default=60.0, gt=0)
    """How old the newest purchase may be, for `last_purchases`."""
    same_category: float = Field(default=1.0, ge=0, le=1)
    """Factor on the scores of items in the category of a seed."""
    returned_like: float | None = Field(default=None, ge=0, le=1)
    """Factor on the scores of items in the category and brand of a returned or disliked item;
    returned items are suppressed. None switches both off."""
    account_weight: float = Field(default=0.5, ge=0, le=10)
    """Weight of an event of the person's account, relative to one of the person, for somebody with
    few events."""
    sale_boost: float = Field(default=0.0, ge=0, le=10)
    """A score on sale is multiplied with 1 + boost · the person's price sensitivity, 0 to 1."""
    fatigue: Fatigue | None = None
    """When an item that is shown again and again without a click rests; null for never."""
    exploration: Exploration | None = None
    """A bounded share of places for new items; null for none."""
    rules: RuleList = ()
    """Filters, boosts, pins, quotas and diversity of this placement, each with the dates in which
    it is in force (`recsys.catalog.rules`); the rules of a request hold beside them."""
    engine_weight: float = Field(default=1.0, ge=0)
    """Rerank only: the weight of the search engine's own order."""
    stranger_blend: dict[str, float] = {}
    """Rerank only: the weights for who has no history, `engine` among them; where it is empty,
    those of the others."""
    max_shift: int | None = Field(default=None, ge=0)
    """Rerank only: how many positions an item may move from the engine's order; None: any."""

    tone: Tone | None = None
    """The tone of reasons in this placement; None for the shop's."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models with a positive weight in `blend` or `stranger_blend`."""
        return tuple(
            name
            for name, weight in self.blend.items()
            if weight > 0 or self.stranger_blend.get(name, 0.0) > 0
        )

    @property
    def knowledge(self) -> tuple[str, ...]:
        """Models that are used for something else than the blend, where the bundle has them."""
        intervals = ("refill",) if self.repeats == "when_due" else ()
        return intervals + (() if self.exploration is None else self.exploration.models)

    def with_blend(self, blend: Mapping[str, float]) -> Placement:
        """The same placement with other weights."""
        return self.model_copy(update={"blend": dict(blend)})


WITH_SEGMENTS: Final = ("popularity_by_segment", "popularity_by_country", "popularity")

DEFAULT_PLACEMENTS: Final[tuple[Placement, ...]] = (
    Placement(
        name="for_you",
        repeats="when_due",
        returned_like=0.5,
        sale_boost=0.5,
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
        fallback=WITH_SEGMENTS,
    ),
    Placement(name="similar", blend={"item_item": 1.0, "content": 0.5}),
    Placement(
        name="bought_together",
        blend={"bought_together": 1.0},
        fallback=("item_item", "content", *WITH_SEGMENTS),
    ),
    Placement(
        name="complements_after_purchase",
        blend={"bought_together": 1.0, "item_item": 0.1},
        fallback=WITH_SEGMENTS,
        repeats="exclude_purchased",
        seeds="last_purchases",
        same_category=0.3,
    ),
    Placement(name="buy_again", blend={"refill": 1.0}, fallback=WITH_SEGMENTS, repeats="when_due"),
    Placement(name="recently_viewed", blend={"recent": 1.0}, fallback=()),
    Placement(
        name="continue_shopping",
        blend={"recent": 1.0, "session": 0.3, "content": 0.1},
        fallback=("popularity_by_category", *WITH_SEGMENTS),
        repeats="exclude_purchased",
    ),
    Placement(name="trending", blend={"trending": 1.0}),
    Placement(
        name="new_for_you",
        blend={"newcomers": 1.0, "hybrid": 0.5, "content": 0.5, "random_walk": 0.3},
        fallback=("hybrid", *WITH_SEGMENTS),
        repeats="exclude_purchased",
        returned_like=0.5,
        shows="new",
    ),
    Placement(
        name="on_sale",
        blend={"session": 0.3, "random_walk": 0.4, "als": 0.3, "content": 0.2},
        fallback=WITH_SEGMENTS,
        repeats="when_due",
        returned_like=0.5,
        shows="on_sale",
    ),
    Placement(
        name="popular_in_segment",
        blend={"popularity_by_segment": 1.0},
        fallback=("popularity_by_country", "popularity"),
    ),
    Placement(
        name=RERANK,
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
"""The default placements; a recipe or `configs/placements.yaml` changes them."""


def served_by(placements: Iterable[Placement], models: Container[str]) -> Iterator[Placement]:
    """The placements without the models that are missing; those without any model are left out."""
    for placement in placements:
        blend = {name: weight for name, weight in placement.blend.items() if name in models}
        if any(weight > 0 for weight in blend.values()):
            yield placement.with_blend(blend)
