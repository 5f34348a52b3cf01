"""Purchases alone: the recipe that is shipped for them, without what refuses such a log."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console

from recsys.bundle.placements import Placement
from training.benchmark.purchases import measure
from training.benchmark.tuning.search import Budget
from training.config import BlendSearch, Recipe
from training.datasets import DataFile, ImportOptions
from training.progress import Steps

OPENING = datetime(2026, 1, 1, tzinfo=UTC)


def write_purchases(path: Path, *, days: int) -> Path:
    """30 customers who buy three of their own five items every other day."""
    rng = np.random.default_rng(3)
    lines = []
    for user in range(30):
        favourites = rng.choice(40, size=5, replace=False)
        for day in range(0, days, 2):
            bought = rng.choice(favourites, size=3, replace=False).tolist()
            event = {
                "event_id": f"{user}-{day}",
                "event": "purchase",
                "timestamp": (OPENING + timedelta(days=day, hours=user % 20)).isoformat(),
                "user_id": f"c{user}",
                "items": [{"item_id": f"i{item}", "quantity": 1} for item in bought],
            }
            lines.append(json.dumps(event) + "\n")
    path.write_text("".join(lines))
    return path


def test_a_model_that_refuses_the_log_is_left_out_and_the_rest_is_measured(tmp_path: Path) -> None:
    recipe = Recipe(
        models={"popularity": {}, "repeat": {}, "ease": {"max_items": 2}},
        placements=(
            Placement(
                name="for_you",
                blend={"repeat": 0.5, "ease": 0.4, "popularity": 0.1},
                fallback=("popularity",),
            ),
        ),
        blend_search=BlendSearch(sweeps=1, sample=100),
    )
    result, about = measure(
        DataFile(write_purchases(tmp_path / "events.jsonl", days=60)),
        OPENING + timedelta(days=50),
        recipe=None,
        purchases_recipe=recipe,
        options=ImportOptions(consent="assumed"),
        budget=Budget.of(1.0, time.perf_counter),
        at=OPENING + timedelta(days=61),
        steps=Steps(Console(quiet=True)),
    )
    assert set(result.models) >= {"repeat", "popularity", "baseline personal_frequency"}
    assert "ease" not in result.models
    assert result.chosen["recall_at_20"] > 0.9
    lead = result.models["popularity"].lead["recall_at_20"]
    assert 0 < lead.low <= lead.value <= lead.high
    assert about.startswith("900 events")
