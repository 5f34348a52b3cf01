"""The comparisons beyond the published protocols."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from recsys.synthetic import ShopConfig
from training.benchmark.comparisons.run import extra_comparisons
from training.progress import Steps


def test_without_the_purchases_the_synthetic_shop_is_still_compared(tmp_path: Path) -> None:
    rows = extra_comparisons(
        tmp_path / "missing.parquet",
        seed=3,
        at=datetime(2026, 6, 1, tzinfo=UTC),
        steps=Steps(Console(quiet=True)),
        shop=ShopConfig(customers=150, items=150, days=40),
    )
    protocols = {row.protocol for row in rows}
    assert protocols == {"synthetic shop, known customers", "synthetic shop, strangers"}
    plain = json.loads(json.dumps([row.as_json() for row in rows]))
    ours, *others = [row for row in plain if row["protocol"] == "synthetic shop, known customers"]
    assert not ours["above"]
    assert {row["method"] for row in others} == {"unpersonalised ranker", "engine", "popularity"}
    for row in others:
        value, low, high = row["above"]["ndcg_at_10"]
        assert low <= value <= high
        lead = ours["metrics"]["ndcg_at_10"][0] - row["metrics"]["ndcg_at_10"][0]
        assert value == pytest.approx(lead, abs=1e-6)
