"""`Worker`: builds the application of a worker process from the configuration, and closes it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from starlette.applications import Starlette

from recsys.events.log import EventLog
from recsys.models.registry import declare_families
from recsys.store.sqlite import SQLiteStore
from serving.config import ServingConfig
from serving.http.app import build_app
from serving.http.app_state import AppState
from serving.http.guard import Limits
from serving.http.rate_limit import Admission
from serving.live.bundle_source import BundleSource, Polling
from serving.live.shop_files import ShopFiles
from serving.metrics import Metrics
from serving.request_log import RequestLog
from serving.use_cases.group_commit import EventWriter
from serving.use_cases.impression_log import ImpressionLog
from serving.use_cases.privacy import Privacy
from serving.use_cases.recommend import Recommender
from serving.use_cases.results import Results


@dataclass(frozen=True, slots=True)
class Worker:
    """The application of a process over its connections and threads."""

    app: Starlette
    state: AppState

    @classmethod
    def open(cls, config: ServingConfig) -> Worker:
        """Opens the store, loads what is published (if anything is) and starts to follow it."""
        declare_families(config.families)
        metrics = Metrics()
        store = SQLiteStore(
            config.store_path,
            busy_timeout=config.store_write_seconds,
            read_timeout=config.store_read_ms / 1000,
            reserve_bytes=config.erase_reserve_mb << 20,
        )
        source = BundleSource(
            config.published_root,
            store,
            metrics=metrics,
            polling=Polling(
                bundle=config.bundle_poll_seconds,
                catalog=config.catalog_poll_seconds,
                refused=config.refused_retry_seconds,
            ),
            stopwatch=time.monotonic,
            files=ShopFiles(
                placements=config.placements, segments=config.segments, metrics=metrics
            ),
        )
        state = AppState(
            recommender=Recommender(
                store,
                metrics=metrics,
                history_limit=config.history_limit,
                session_gap=timedelta(minutes=config.session_minutes),
                voice=config.reasons.voice,
                # What waits for a lock within the store is let finish; both stay below 50 ms.
                store_patience_seconds=1.5 * config.store_read_ms / 1000,
                store_rest_seconds=config.store_rest_ms / 1000,
            ),
            source=source,
            store=store,
            writer=EventWriter(
                store,
                metrics=metrics,
                clock=utc_now,
                linger_seconds=config.commit_linger_ms / 1000,
            ),
            impressions=ImpressionLog(store, metrics=metrics, capacity=config.answer_log_queue),
            privacy=Privacy(
                store=store,
                log=EventLog(config.workspace / "event_log"),
                rejected=config.workspace / "rejected",
                published=config.published_root,
            ),
            results=Results(
                store,
                EventLog(config.workspace / "event_log"),
                written=config.workspace / "kpi.json",
            ),
            metrics=metrics,
            tolerance=config.tolerance,
            request_seconds=config.request_seconds,
            clock=utc_now,
            rng=np.random.default_rng(),
            admission=Admission(
                wait_seconds=config.queue_ms / 1000,
                stopwatch=time.monotonic,
                refused=metrics.shed.inc,
                alone=config.workers == 1,
            ),
            request_log=RequestLog(
                form=config.log, clock=utc_now, dropped=metrics.lines_dropped.inc
            ),
            segment_consent=config.segment_consent.rule,
        )
        source.start()
        return cls(build_app(state, limits=limits_of(config)), state)

    async def close(self) -> None:
        """Finishes commits, writes the answer log and releases the store."""
        await self.state.writer.close()
        self.state.source.close()
        self.state.impressions.close()
        self.state.store.close()
        self.state.request_log.close()


def limits_of(config: ServingConfig) -> Limits:
    """The limits that the guard enforces."""
    return Limits(
        body_bytes=config.body_limit,
        body_seconds=config.body_seconds,
        api_key=None if config.api_key is None else config.api_key.get_secret_value(),
    )


def utc_now() -> datetime:
    """The service's clock, the only place where it is read."""
    return datetime.now(UTC)
