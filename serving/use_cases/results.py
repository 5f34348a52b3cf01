"""Results of experiments and KPIs: `GET /v1/experiments` and `GET /v1/kpi`."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from recsys.bundle.publication import Experiment
from recsys.events.log import EventLog
from recsys.experiments.figures import ShopFigures
from recsys.experiments.summary import SHOWN_DAYS, first_moment, shop_figures
from recsys.store.protocol import Store
from serving.api.problems import unavailable
from serving.api.result_schemas import ExperimentsAnswer, RunningVariant
from serving.live.versions import LiveVersions

KEPT: Final = timedelta(seconds=60)
"""How long computed figures are cached."""
AT_ONCE: Final = 200_000
"""Above this many answers (some five seconds of CPU), serve the precomputed KPI file of `recsys
kpi`."""


def running(versions: LiveVersions) -> ExperimentsAnswer:
    """The variants that are served now."""
    shares = _shares(versions)
    experiment = versions.experiment
    return ExperimentsAnswer(
        experiment=None if experiment is None else experiment.id,
        started_at=None if experiment is None else experiment.started_at,
        variants=[
            RunningVariant(
                name=variant.name,
                model_version=variant.bundle.model_version,
                share=round(shares[variant.name], 6),
            )
            for variant in versions.variants
        ],
    )


class Results:
    """KPIs over the store and the event log, computed on request and cached.

    Blocking; concurrent callers share one computation.
    """

    def __init__(
        self, store: Store, log: EventLog, *, written: Path, at_once: int = AT_ONCE
    ) -> None:
        self._store = store
        self._log = log
        self._written = written
        self._at_once = at_once
        self._computing = threading.Lock()
        self._kept: ShopFigures | None = None

    def kpi(self, versions: LiveVersions | None, *, now: datetime) -> ShopFigures:
        """The figures as of at most KEPT before now, or those that `recsys kpi` wrote last.

        StoreUnavailable where the store cannot be read; ProblemError where there are too many
        answers to count them here and nothing was written.
        """
        with self._computing:
            kept = self._kept
            if kept is None or not now - KEPT < kept.as_of <= now:
                kept = self._computed(versions, now)
                self._kept = kept
            return kept

    def _computed(self, versions: LiveVersions | None, now: datetime) -> ShopFigures:
        experiment = None if versions is None else versions.experiment
        if self._too_many(now, experiment):
            return self._read()
        return shop_figures(
            self._store,
            self._log,
            now=now,
            shares={} if versions is None else _shares(versions),
            experiment=experiment,
            threads=1,
        )

    def _too_many(self, now: datetime, experiment: Experiment | None) -> bool:
        first = first_moment(now, days=SHOWN_DAYS, experiment=experiment)
        most = self._at_once + 1
        return self._store.count_answers(since=first, until=now, at_most=most) == most

    def _read(self) -> ShopFigures:
        try:
            return msgspec.json.decode(self._written.read_bytes(), type=ShopFigures)
        except (OSError, msgspec.DecodeError) as error:
            raise unavailable(
                "There are too many answers to be counted here; run `recsys kpi`, say every hour, "
                "and its figures are shown."
            ) from error


def _shares(versions: LiveVersions) -> dict[str, float]:
    total = sum(variant.share for variant in versions.variants)
    return {variant.name: variant.share / total for variant in versions.variants}
