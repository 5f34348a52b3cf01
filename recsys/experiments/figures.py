"""The figures of placements, days and experiments as they are written to files and sent over HTTP.

Plain structures without any computation: whoever only reads figures imports nothing else.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class PlacementDay(msgspec.Struct, frozen=True, kw_only=True):
    """One placement on one day. A list counts as seen (where the shop reports `view_item_list` with
    the answer's id), clicked, carted or bought where anything in it was. Both rates are shares of
    all `lists`, `conversion` of those bought from; `revenue` is what was paid for their items."""

    date: str
    placement: str
    lists: int
    persons: int
    seen: int
    clicked: int
    carted: int
    bought: int
    revenue: float
    click_rate: float
    conversion: float


class ShopDay(msgspec.Struct, frozen=True, kw_only=True):
    """One day of all persons who received an answer: `returning` had received one on an earlier day
    that was read; orders are theirs, whatever was in them; `order_value` is null without any."""

    date: str
    persons: int
    returning: int
    orders: int
    revenue: float
    order_value: float | None


class Kpis(msgspec.Struct, frozen=True, kw_only=True):
    """Both tables, oldest day first; days without an answer and without an order are left out."""

    placements: list[PlacementDay]
    days: list[ShopDay]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its interval; null where there are too few observations."""

    value: float | None
    low: float | None
    high: float | None


class VariantFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One variant: its share, the versions that served it, and its measures."""

    name: str
    share: float
    model_versions: list[str]
    persons: int
    answers: int
    measures: dict[str, Figure]


class ComparisonFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger against the control in one measure."""

    challenger: str
    measure: str
    difference: Figure
    lift: Figure


class ExperimentResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an experiment. The first variant is the control; `sample_ratio_p` is small
    where the split is broken, null with one variant."""

    experiment: str
    since: datetime
    until: datetime
    primary: str
    confidence: float
    sample_ratio_p: float | None
    persons_with_several_variants: int
    answers_of_nobody: int
    verdict: list[str]
    variants: list[VariantFigures]
    comparisons: list[ComparisonFigures]


class ShopFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The last days, today included, by placement and for the shop, and the result so far of the
    running experiment. Returning persons had received an answer up to a week before these days.
    Aggregates alone: no person is named."""

    as_of: datetime
    since: datetime
    placements: list[PlacementDay]
    days: list[ShopDay]
    experiment: ExperimentResult | None
