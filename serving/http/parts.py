"""`AppState`: everything that the routes work with, put together by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from numpy.random import Generator

from recsys.events.adapters import SegmentConsent
from recsys.events.schema import Tolerance
from recsys.store.protocol import Store
from serving.http.admission import Gate
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

    engine: Recommender
    source: BundleSource
    store: Store
    writer: EventWriter
    answers: ImpressionLog
    privacy: Privacy
    results: Results
    monitoring: Metrics
    tolerance: Tolerance
    request_seconds: float
    clock: Callable[[], datetime]
    rng: Generator
    gate: Gate
    requests: RequestLog
    segment_consent: SegmentConsent = field(default_factory=SegmentConsent)
