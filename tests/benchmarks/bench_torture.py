"""A hundred kills of the whole service while eight senders send events: `make torture`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.bench_models import row
from tests.benchmarks.bench_resilience import Row, require_zeros
from tests.benchmarks.resilience import kill_while_sending, publish
from tests.support.running_service import Service

KILLS = 100


def rows() -> dict[str, Row]:
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder), "a-first")
        acknowledged, lost, doubled = kill_while_sending(
            Path(folder),
            kills=KILLS,
            start=lambda workspace: Service.start(workspace, workers=2),
        )
    results = {
        "torture/kills": row(float(KILLS), "kills of the whole service"),
        "torture/acknowledged": row(float(acknowledged), "events"),
        "torture/lost": row(float(lost), "acknowledged events"),
        "torture/doubled": row(float(doubled), "events"),
    }
    require_zeros(results, "lost", "doubled")
    return results
