"""Bodies of what the answers brought: which variants run, and the figures of the last days."""

from __future__ import annotations

from datetime import datetime

import msgspec

from recsys.experiment_result import ExperimentResult
from recsys.kpi import PlacementDay, ShopDay


class RunningVariant(msgspec.Struct, frozen=True, kw_only=True):
    """One version that is served, and the share of persons who get it."""

    name: str
    model_version: str
    share: float


class ExperimentsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is served side by side; `experiment` is null where no experiment is running."""

    experiment: str | None
    started_at: datetime | None
    variants: list[RunningVariant]


class KpiAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The last seven days, today included, by placement and for the shop, and what the experiment
    that is running says so far. Sums alone: nobody is named."""

    as_of: datetime
    since: datetime
    placements: list[PlacementDay]
    days: list[ShopDay]
    experiment: ExperimentResult | None
