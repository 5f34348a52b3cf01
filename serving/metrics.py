"""Prometheus metrics of the service. Labels are routes, placements, variants, levels: never an id.

With several workers each process writes its counts to files in PROMETHEUS_MULTIPROC_DIR (the
start-up sets it), and `/metrics` of any worker gives the sum over all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Metrics:
    """The service's metrics in a registry of its own."""

    def __init__(self, *, stopwatch: Callable[[], float] = time.perf_counter) -> None:
        self.stopwatch = stopwatch
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "recsys_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "recsys_request_seconds",
            "Time from the whole body to the answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "recsys_answers",
            "Lists given, by how personal they were.",
            ["placement", "variant", "level"],
            registry=self.registry,
        )
        self.list_seconds = Histogram(
            "recsys_list_seconds",
            "Time to make one list.",
            ["route", "placement", "variant", "level"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rule_removals = Counter(
            "recsys_rule_removals",
            "Items that a rule kept out of a list or moved.",
            ["placement", "rule"],
            registry=self.registry,
        )
        self.shed = Counter(
            "recsys_shed_requests",
            "Requests sent away with 503 because the line was too long.",
            registry=self.registry,
        )
        self.lines_dropped = Counter(
            "recsys_log_lines_dropped",
            "Request lines that were not written because the log was not read.",
            registry=self.registry,
        )
        self.degraded = Counter(
            "recsys_degraded_answers",
            "Answers given without the event store.",
            registry=self.registry,
        )
        self.events = Counter(
            "recsys_events", "Events received.", ["status"], registry=self.registry
        )
        self.commit_size = Histogram(
            "recsys_commit_events",
            "Events committed to disk together.",
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self.store_failures = Counter(
            "recsys_store_failures",
            "Times the store was locked, full or gone.",
            ["operation"],
            registry=self.registry,
        )
        self.answers_not_logged = Counter(
            "recsys_answers_not_logged",
            "Answers that could not be logged: the queue was full or the store failed.",
            registry=self.registry,
        )
        self.bundles_loaded = Counter(
            "recsys_bundles_loaded", "Bundles taken into service.", registry=self.registry
        )
        self.bundles_refused = Counter(
            "recsys_bundles_refused",
            "Publications refused: damaged, of another schema or failing their warm-up.",
            registry=self.registry,
        )
        self.shop_files = Counter(
            "recsys_shop_files",
            "Changed placements.yaml or segments.yaml: taken into force or refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.bundle_as_of = Gauge(
            "recsys_bundle_as_of_seconds",
            "The moment up to which the served model knows events, epoch seconds.",
            ["variant"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.model_age = Gauge(
            "recsys_model_age_seconds",
            "How old the newest event is that the served model was taught with.",
            ["variant"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )

    def text(self) -> bytes:
        """The exposition text: of all workers where they share a directory, else of this one."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self.registry)
