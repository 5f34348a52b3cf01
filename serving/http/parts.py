"""`Parts`: everything that the routes work with, put together by the composition root."""

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
from serving.metrics import Monitoring
from serving.request_log import RequestLog
from serving.use_cases.group_commit import EventWriter
from serving.use_cases.impression_log import AnswerLog
from serving.use_cases.privacy import Privacy
from serving.use_cases.recommend import Engine
from serving.use_cases.results import Results


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the routes work with, put together by the composition root."""

    engine: Engine
    source: BundleSource
    store: Store
    writer: EventWriter
    answers: AnswerLog
    privacy: Privacy
    results: Results
    monitoring: Monitoring
    tolerance: Tolerance
    request_seconds: float
    clock: Callable[[], datetime]
    rng: Generator
    gate: Gate
    requests: RequestLog
    segment_consent: SegmentConsent = field(default_factory=SegmentConsent)
