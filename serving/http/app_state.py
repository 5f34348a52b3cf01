"""`AppState`: everything that the routes work with, put together by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from numpy.random import Generator

from recsys.events.adapters import SegmentConsent
from recsys.events.schema import Tolerance
from recsys.store.protocol import Store
from serving.http.admission import Admission
from serving.live.bundle_source import BundleSource
from serving.metrics import Metrics
from serving.request_log import RequestLog
from serving.use_cases.group_commit import EventWriter
from serving.use_cases.impression_log import ImpressionLog
from serving.use_cases.privacy import Privacy
from serving.use_cases.recommend import Recommender
from serving.use_cases.results import Results


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything that the routes work with, put together by the composition root."""

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
