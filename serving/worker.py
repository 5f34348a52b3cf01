"""Puts the parts of one worker together and takes them apart again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from starlette.applications import Starlette

from recsys.events.log import EventLog
from recsys.store.sqlite import SQLiteStore
from serving.config import ServingConfig
from serving.http.admission import Gate
from serving.http.app import build_app, utc_now
from serving.http.guard import Limits
from serving.http.parts import AppState
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
    """One process's application over its own connections and threads."""

    app: Starlette
    parts: AppState

    @classmethod
    def open(cls, config: ServingConfig) -> Worker:
        """Opens the store, loads what is published (if anything is) and starts to follow it."""
        monitoring = Metrics()
        store = SQLiteStore(
            config.store_path,
            busy_timeout=config.store_write_seconds,
            read_timeout=config.store_read_ms / 1000,
            reserve_bytes=config.erase_reserve_mb << 20,
        )
        source = BundleSource(
            config.published_root,
            store,
            monitoring=monitoring,
            polling=Polling(
                bundle=config.bundle_poll_seconds,
                catalog=config.catalog_poll_seconds,
                refused=config.refused_retry_seconds,
            ),
            stopwatch=time.monotonic,
            files=ShopFiles(
                placements=config.placements, segments=config.segments, monitoring=monitoring
            ),
        )
        parts = AppState(
            engine=Recommender(
                store,
                monitoring=monitoring,
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
                monitoring=monitoring,
                clock=utc_now,
                linger_seconds=config.commit_linger_ms / 1000,
            ),
            answers=ImpressionLog(store, monitoring=monitoring, capacity=config.answer_log_queue),
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
            monitoring=monitoring,
            tolerance=config.tolerance,
            request_seconds=config.request_seconds,
            clock=utc_now,
            rng=np.random.default_rng(),
            gate=Gate(
                wait_seconds=config.queue_ms / 1000,
                stopwatch=time.monotonic,
                refused=monitoring.shed.inc,
                alone=config.workers == 1,
            ),
            requests=RequestLog(
                form=config.log, clock=utc_now, dropped=monitoring.lines_dropped.inc
            ),
            segment_consent=config.segment_consent.rule,
        )
        source.start()
        return cls(build_app(parts, limits=limits_of(config)), parts)

    async def close(self) -> None:
        """Finishes commits, writes the answer log and releases the store."""
        await self.parts.writer.close()
        self.parts.source.close()
        self.parts.answers.close()
        self.parts.store.close()
        self.parts.requests.close()


def limits_of(config: ServingConfig) -> Limits:
    """What the guard at the door lets in."""
    return Limits(
        body_bytes=config.body_limit,
        body_seconds=config.body_seconds,
        api_key=None if config.api_key is None else config.api_key.get_secret_value(),
    )
