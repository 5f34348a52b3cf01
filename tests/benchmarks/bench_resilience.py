"""A hundred bundle swaps under load, and a store that is locked for half a minute.

Counts of failures must be 0; any other value stops the benchmark.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_models import row
from tests.benchmarks.resilience import (
    lock_under_load,
    publish,
    stored_ids,
    swap_under_load,
)
from tests.support.running_service import Service

SWAPS = 100
LOCKED_SECONDS = 30.0
CONFIG = "bundle_poll_seconds: 0.1\nrequest_seconds: 1.0\nstore_write_seconds: 0.5\n"
Row = dict[str, Any]


def rows() -> dict[str, Row]:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as service:
        load, seen = swap_under_load(service, swaps=SWAPS)
        failed = load.broken + sum(n for status, n in load.statuses.items() if status != 200)
        pages, pages_seen, events, events_seen = lock_under_load(service, seconds=LOCKED_SECONDS)
        failed_locked = sum(n for status, n in pages.statuses.items() if status >= 500)
        lost = len(events_seen.acknowledged - stored_ids(service.workspace))
    results = {
        "resilience/swaps": row(float(len(seen.versions)), "versions that answered"),
        "resilience/swaps/failed": row(float(failed), "requests"),
        "resilience/swaps/mixed": row(float(seen.mixed), "answers"),
        "resilience/swaps/p99_ms": row(load.percentile(99), "ms"),
        "resilience/locked/pages_failed": row(float(failed_locked + pages.broken), "requests"),
        "resilience/locked/pages_degraded": row(
            pages_seen.degraded / max(pages.statuses[200], 1), "of the pages"
        ),
        "resilience/locked/pages_p99_ms": row(pages.percentile(99), "ms"),
        "resilience/locked/events_refused": row(float(events.statuses[503]), "batches"),
        "resilience/locked/events_lost": row(float(lost), "acknowledged events"),
    }
    require_zeros(results, "failed", "mixed", "pages_failed", "events_lost")
    return results


@contextmanager
def serving(workspace: Path) -> Iterator[Service]:
    """The service over a small bundle; it looks for a new one ten times a second."""
    publish(workspace, "a-first")
    config = workspace / "serving.yaml"
    config.write_text(CONFIG)
    service = Service.start(workspace, workers=2, config=config)
    try:
        yield service
    finally:
        service.stop()


def require_zeros(results: dict[str, Row], *zeros: str) -> None:
    """Ends the run where one of these figures is not 0."""
    wrong = [name for name in results if name.endswith(zeros) and results[name]["value"]]
    if wrong:
        sys.exit(f"{', '.join(wrong)} should be 0: {results}")
