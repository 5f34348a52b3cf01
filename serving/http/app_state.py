"""`AppState`: what the handlers work with, and the form of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from numpy.random import Generator
from starlette.responses import Response

from recsys.events.adapters import SegmentConsent
from recsys.events.schema import Tolerance
from recsys.store.protocol import Store
from serving.api.problems import unavailable
from serving.api.routes import Route
from serving.http.rate_limit import Admission
from serving.live.bundle_source import BundleSource
from serving.live.versions import LiveVersions
from serving.metrics import Metrics
from serving.request_log import RequestLog
from serving.use_cases.group_commit import EventWriter
from serving.use_cases.impression_log import ImpressionLog
from serving.use_cases.privacy import Privacy
from serving.use_cases.recommend import Recommender
from serving.use_cases.results import Results


@dataclass(frozen=True, slots=True)
class AppState:
    """What the handlers of one worker work with, put together by `serving.worker`."""

    recommender: Recommender
    source: BundleSource
    store: Store
    writer: EventWriter
    impressions: ImpressionLog
    privacy: Privacy
    results: Results
    metrics: Metrics
    tolerance: Tolerance
    request_seconds: float
    clock: Callable[[], datetime]
    rng: Generator
    admission: Admission
    request_log: RequestLog
    segment_consent: SegmentConsent = field(default_factory=SegmentConsent)

    def live_versions(self) -> LiveVersions:
        """What is served now; ProblemError 503 before the first publication."""
        versions = self.source.current
        if versions is None:
            raise unavailable("No model is in service yet; publish one with `recsys nightly`.")
        return versions


Handler: TypeAlias = Callable[[AppState, bytes], Awaitable[Response]]
"""Validates a body, calls a use case and responds."""
Handlers: TypeAlias = Mapping[Route[Any, Any], Handler]
