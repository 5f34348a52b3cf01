"""A bundle may store rows of customers; those of the erased and the refusing are never used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.dataset.training_data import TrainingData
from recsys.events.log import EventLog
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent, Person
from recsys.models.registry import MODELS
from recsys.models.user_neighbours.customer_rows import CustomerRows
from recsys.query.preferences import Preferences
from recsys.query.profile import Profile
from recsys.store.sqlite import SQLiteStore
from serving.api.schemas import User
from serving.live.bundle_source import BundleSource, Polling
from serving.metrics import Metrics
from serving.use_cases.privacy import Privacy

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True)
FAMILIES = ("up_cf", "popularity_by_country", "popularity")


@pytest.fixture(scope="module")
def published(small_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published bundle that stores what customers bought."""
    root = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(0)
    bundle = Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=small_data.as_of,
            window_from=small_data.as_of - timedelta(days=60),
            config_digest="c",
            code_revision="r",
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models={n: MODELS[n].fit(small_data, MODELS[n].config(), rng=rng) for n in FAMILIES},
        placements={"for_you": Placement(name="for_you", blend={"up_cf": 1.0})},
        weighting=small_data.weighting,
    )
    save_bundle(bundle, bundle_directory(root, "v1"))
    write_publication(root, Publication(variants=[Variant(name="champion", model_version="v1")]))
    return root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def source(published: Path, store: SQLiteStore) -> BundleSource:
    polling = Polling(bundle=1.0, catalog=1.0, refused=30.0)
    return BundleSource(published, store, metrics=Metrics(), polling=polling, stopwatch=lambda: 0.0)


def stored(source: BundleSource) -> set[int]:
    """The codes of whose rows are served."""
    assert source.current is not None
    rows = source.current.variants[0].bundle.models["up_cf"].rows  # type: ignore[attr-defined]
    assert isinstance(rows, CustomerRows)
    return set(rows.owners.tolist())


def code(person: str) -> int:
    return int(pseudonyms_of([person])[0])


@pytest.fixture
def customers(small_data: TrainingData, published: Path) -> list[str]:
    """Person keys of customers whose rows the bundle stores."""
    owners = np.load(bundle_directory(published, "v1") / "models" / "up_cf" / "owners.npy")
    held = set(owners.tolist())
    return [key for key in small_data.users.ids() if key[0] == "u" and code(key) in held]


def test_rows_of_the_erased_and_the_refusing_leave_what_is_served_within_a_poll(
    source: BundleSource, store: SQLiteStore, customers: list[str]
) -> None:
    erased, refusing, objecting, left = customers[:4]
    source.follow_pointer()
    assert {code(key) for key in customers[:4]} <= stored(source)
    assert not source.follow_erasures()

    store.put_profiles([Profile(user_id=refusing[2:], country="NL", consent=YES)], received_at=NOON)
    store.erase(Person(erased[2:]), receipt="x", at=NOON)
    store.put_profiles(
        [Profile(user_id=refusing[2:], consent=Consent())], received_at=NOON + timedelta(minutes=1)
    )
    store.put_preferences(
        [Preferences(user_id=objecting[2:], personalization=False)], received_at=NOON
    )
    assert source.follow_erasures()
    assert not {code(key) for key in (erased, refusing, objecting)} & stored(source)
    assert code(left) in stored(source)
    assert not source.follow_erasures()

    store.put_preferences(
        [Preferences(user_id=objecting[2:], personalization=True)], received_at=NOON
    )
    assert source.follow_erasures()
    assert code(objecting) in stored(source)


def test_a_bundle_is_loaded_without_the_rows_of_who_was_erased_before(
    source: BundleSource, store: SQLiteStore, customers: list[str]
) -> None:
    store.erase(Person(customers[0][2:]), receipt="x", at=NOON)
    assert source.follow_pointer()
    assert code(customers[0]) not in stored(source)


def test_while_nobody_knows_who_was_erased_no_rows_are_served(
    source: BundleSource, store: SQLiteStore
) -> None:
    store.close()
    assert not source.follow_pointer()
    assert source.current is None


def test_the_receipt_says_which_bundles_hold_rows(
    published: Path, store: SQLiteStore, customers: list[str], tmp_path: Path
) -> None:
    privacy = Privacy(
        store=store,
        log=EventLog(tmp_path / "log"),
        rejected=tmp_path / "rejected",
        published=published,
    )
    rng = np.random.default_rng(0)
    receipt = privacy.erase(User(user_id=customers[0][2:]), now=NOON, rng=rng)
    assert [(b.model_version, b.holds_rows, b.served) for b in receipt.bundles] == [
        ("v1", True, True)
    ]
    assert any("published bundles" in line for line in receipt.remaining)
    stranger = privacy.erase(User(user_id="nobody-there"), now=NOON, rng=rng)
    assert not stranger.bundles[0].holds_rows
