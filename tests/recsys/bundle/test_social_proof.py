"""Social proof counts distinct customers, and never too few of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.save_load import load_bundle, save_bundle
from recsys.bundle.social_proof import SocialProof, SocialProofConfig, social_proof
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import BundleError
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventItem
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS

END = datetime(2026, 11, 1, tzinfo=UTC)


def event(kind: str, who: int | None, item: str, *, days_ago: float = 1.0, **more: Any) -> Event:
    user = None if who is None else f"c-{who}"
    moment = END - timedelta(days=days_ago)
    return Event(
        event_id=f"{kind}-{user}-{item}-{days_ago}-{more}",
        event=kind,  # type: ignore[arg-type]
        timestamp=moment,
        user_id=user,
        items=[EventItem(item)],
        **more,
    )


@pytest.fixture
def proof_of(tmp_path: Path):  # type: ignore[no-untyped-def]
    """What is counted from these events."""

    def count(events: list[Event], **config: int) -> tuple[SocialProof, TrainingData]:
        log = EventLog(tmp_path / "log")
        log.append(rows(events), part="all")
        data = read_training_data(log, as_of=END, weighting=Weighting())
        return social_proof(data, SocialProofConfig(**config)), data

    return count


def test_distinct_customers_are_counted_and_not_purchases(proof_of) -> None:
    events = [event("purchase", who, "tea", days_ago=ago) for who in range(6) for ago in (1, 2, 3)]
    counted, data = proof_of(events, min_customers=5)
    proof = counted.of(data.items.number("tea"))
    assert proof is not None
    assert (proof.customers, proof.days, proof.as_of) == (6, 30, END)
    assert (proof.rating, proof.ratings) == (None, None)


def test_too_few_customers_leave_no_count_behind(proof_of) -> None:
    events = [event("purchase", who, "tea") for who in range(4)]
    events += [event("rate", who, "tea", rating=5.0) for who in range(4)]
    counted, data = proof_of(events, min_customers=5)
    assert counted.of(data.items.number("tea")) is None
    for array in counted.arrays().values():
        assert 4 not in np.atleast_1d(array)
    counted, data = proof_of(events, min_customers=4)
    proof = counted.of(data.items.number("tea"))
    assert (proof.customers, proof.ratings) == (4, 4)


def test_purchases_before_the_days_and_views_and_strangers_do_not_count(proof_of) -> None:
    events = [event("purchase", who, "tea", days_ago=31) for who in range(6)]
    events += [event("view_item", who, "tea") for who in range(6)]
    events += [event("purchase", None, "tea", transaction_id=str(n)) for n in range(6)]
    counted, data = proof_of(events, min_customers=2)
    assert counted.of(data.items.number("tea")) is None


def test_only_a_customers_newest_rating_counts(proof_of) -> None:
    events = [event("rate", who, "tea", rating=4.0, days_ago=2) for who in range(5)]
    events.append(event("rate", 0, "tea", rating=1.0, days_ago=9))
    counted, data = proof_of(events)
    proof = counted.of(data.items.number("tea"))
    assert (proof.rating, proof.ratings, proof.customers) == (4.0, 5, None)
    events.append(event("rate", 0, "tea", rating=1.0, days_ago=1))
    counted, _ = proof_of(events)
    assert counted.of(0).rating == pytest.approx(3.4)


def test_a_bundle_keeps_it(small_data: TrainingData, tmp_path: Path) -> None:
    counted = social_proof(small_data, SocialProofConfig())
    assert (counted.buyers >= 5).sum() > 10
    family = MODELS["popularity"]
    made = Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=END,
            window_from=END - timedelta(days=50),
            config_digest="c",
            code_revision="r",
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models={
            "popularity": family.fit(small_data, family.config(), rng=np.random.default_rng(0))
        },
        placements={},
        weighting=Weighting(),
        social_proof=counted,
    )
    loaded = load_bundle(save_bundle(made, tmp_path / "v1")).social_proof
    assert loaded is not None
    for name, array in counted.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert loaded.as_of == small_data.as_of


def test_misshapen_counts_are_refused(small_data: TrainingData) -> None:
    counted = social_proof(small_data, SocialProofConfig())
    with pytest.raises(BundleError, match="train anew"):
        SocialProof.from_arrays(counted.arrays(), n_items=3)
