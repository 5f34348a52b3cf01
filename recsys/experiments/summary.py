"""`shop_figures`: the KPIs of the last days, and the result so far of a running experiment.

The same figures on the command line, in a file and over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from recsys.bundle.publication import Experiment
from recsys.events.log import EventLog
from recsys.experiments.ab_test import experiment_report
from recsys.experiments.attribution import read_attributed
from recsys.experiments.figures import ShopFigures
from recsys.experiments.kpi import kpis
from recsys.experiments.result import result_of
from recsys.store.protocol import Store

SHOWN_DAYS: Final = 7
LOOK_BACK: Final = timedelta(days=7)
"""How long before the first day an answer makes its person a returning one."""


def first_moment(now: datetime, *, days: int, experiment: Experiment | None) -> datetime:
    """The start of the period whose answers the figures of the last `days` need."""
    first = _midnight(now) - timedelta(days=days - 1) - LOOK_BACK
    return first if experiment is None else min(first, experiment.started_at)


def shop_figures(
    store: Store,
    log: EventLog,
    *,
    now: datetime,
    shares: Mapping[str, float],
    experiment: Experiment | None,
    days: int = SHOWN_DAYS,
    threads: int | None = None,
) -> ShopFigures:
    """The figures of the last `days`; `shares` are those of the variants, the control first."""
    since = _midnight(now) - timedelta(days=days - 1)
    attributed = read_attributed(
        store,
        log,
        since=first_moment(now, days=days, experiment=experiment),
        until=now,
        threads=threads,
    )
    tables = kpis(attributed, since=since)
    result = None
    if experiment is not None:
        report = experiment_report(attributed, shares, since=experiment.started_at, until=now)
        result = result_of(report, experiment=experiment.id)
    return ShopFigures(
        as_of=now,
        since=since,
        placements=tables.placements,
        days=tables.days,
        experiment=result,
    )


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
