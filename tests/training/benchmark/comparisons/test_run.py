"""The comparisons beside the published protocols."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from recsys.synthetic import ShopConfig
from training.benchmark.comparisons.run import beside, beside_as_json
from training.progress import Steps


def test_without_the_purchases_the_synthetic_shop_is_still_compared(tmp_path: Path) -> None:
    found = beside(
        tmp_path / "missing.parquet",
        seed=3,
        at=datetime(2026, 6, 1, tzinfo=UTC),
        steps=Steps(Console(quiet=True)),
        shop=ShopConfig(customers=150, items=150, days=40),
    )
    protocols = {row.protocol for row in found}
    assert protocols == {"synthetic shop, known customers", "synthetic shop, strangers"}
    told = json.loads(json.dumps(beside_as_json(found)))
    ours, *others = [one for one in told if one["protocol"] == "synthetic shop, known customers"]
    assert not ours["above"]
    assert {one["method"] for one in others} == {"unpersonalised ranker", "engine", "popularity"}
    for one in others:
        value, low, high = one["above"]["ndcg_at_10"]
        assert low <= value <= high
        lead = ours["metrics"]["ndcg_at_10"][0] - one["metrics"]["ndcg_at_10"][0]
        assert value == pytest.approx(lead, abs=1e-6)
