"""What the answers brought, for whoever may ask: `GET /v1/experiments` and `GET /v1/kpi`."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Final

from recsys.attribution import read_attributed
from recsys.event_log import EventLog
from recsys.experiment_result import result_of
from recsys.experiments import experiment_report
from recsys.kpi import kpis
from recsys.store import Store
from serving.result_schemas import ExperimentsAnswer, KpiAnswer, RunningVariant
from serving.variants import Serving

SHOWN: Final = timedelta(days=7)
LOOK_BACK: Final = timedelta(days=7)
"""How long before the first day shown somebody may have been answered to return."""
KEPT: Final = timedelta(seconds=60)
"""How long figures are handed out again: a hundred thousand answers cost a core some seconds."""


def running(serving: Serving) -> ExperimentsAnswer:
    """The variants that are served now."""
    total = sum(variant.share for variant in serving.variants)
    experiment = serving.experiment
    return ExperimentsAnswer(
        experiment=None if experiment is None else experiment.id,
        started_at=None if experiment is None else experiment.started_at,
        variants=[
            RunningVariant(
                name=variant.name,
                model_version=variant.bundle.model_version,
                share=round(variant.share / total, 6),
            )
            for variant in serving.variants
        ],
    )


class Results:
    """Figures over the store and the event log, computed when they are asked for and kept a while.

    To be called in a thread; several callers at once share one computation.
    """

    def __init__(self, store: Store, log: EventLog) -> None:
        self._store = store
        self._log = log
        self._computing = threading.Lock()
        self._kept: KpiAnswer | None = None

    def kpi(self, serving: Serving | None, *, now: datetime) -> KpiAnswer:
        """The figures as of at most KEPT before now; StoreUnavailable where it cannot be read."""
        with self._computing:
            kept = self._kept
            if kept is None or not now - KEPT < kept.as_of <= now:
                kept = self._kept = self._computed(serving, now)
            return kept

    def _computed(self, serving: Serving | None, now: datetime) -> KpiAnswer:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - SHOWN + timedelta(days=1)
        experiment = None if serving is None else serving.experiment
        first = since - LOOK_BACK
        if experiment is not None:
            first = min(first, experiment.started_at)
        told = read_attributed(self._store, self._log, since=first, until=now, threads=1)
        found = kpis(told, since=since)
        result = None
        if experiment is not None and serving is not None:
            report = experiment_report(
                told, _shares(serving), since=experiment.started_at, until=now
            )
            result = result_of(report, experiment=experiment.id)
        return KpiAnswer(
            as_of=now,
            since=since,
            placements=found.placements,
            days=found.days,
            experiment=result,
        )


def _shares(serving: Serving) -> dict[str, float]:
    total = sum(variant.share for variant in serving.variants)
    return {variant.name: variant.share / total for variant in serving.variants}
