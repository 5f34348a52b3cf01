"""Schemas of the running variants and of the figures of the last days."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from recsys.experiments.figures import ShopFigures


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


KpiAnswer: TypeAlias = ShopFigures
"""What `GET /v1/kpi` gives."""
