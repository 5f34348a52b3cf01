"""Following the pointer and the catalogue: swaps, refusals, and what stays in service."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running_service import wait_until

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.bundle.publication import (
    POINTER,
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    write_publication,
)
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Item
from recsys.store.sqlite import SQLiteStore
from serving.live.bundle_source import BundleSource, Polling
from serving.metrics import Metrics

NOW = datetime(2026, 11, 2, tzinfo=UTC)


class Clock:
    """A stopwatch that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(tmp_path: Path, store: SQLiteStore, clock: Clock) -> BundleSource:
    """A source over an empty root, followed by hand."""
    return BundleSource(
        tmp_path / "published",
        store,
        metrics=Metrics(),
        polling=Polling(bundle=0.02, catalog=0.02, refused=30),
        stopwatch=clock,
    )


def versions(source: BundleSource) -> dict[str, str]:
    assert source.current is not None
    return dict(source.current.model_versions)


def refusals(source: BundleSource) -> float:
    return source._metrics.bundles_refused._value.get()  # type: ignore[no-any-return]


def test_a_new_publication_replaces_what_is_served_and_requests_keep_what_they_took(
    source: BundleSource, tmp_path: Path, publish: Callable[..., None]
) -> None:
    assert not source.follow_pointer()
    publish(tmp_path / "published", "v1")
    assert source.follow_pointer()
    served = source.current
    publish(tmp_path / "published", "v2")
    assert source.follow_pointer()
    assert versions(source) == {"champion": "v2"}
    assert served is not None
    assert dict(served.model_versions) == {"champion": "v1"}
    assert not source.follow_pointer()


def test_the_threads_follow_by_themselves(
    source: BundleSource, tmp_path: Path, publish: Callable[..., None]
) -> None:
    publish(tmp_path / "published", "v1")
    source.start()
    try:
        publish(tmp_path / "published", "v2")
        wait_until(lambda: versions(source) == {"champion": "v2"})
    finally:
        source.close()


def test_two_variants_share_a_bundle_that_is_loaded_already(
    source: BundleSource, tmp_path: Path, publish: Callable[..., None]
) -> None:
    publish(tmp_path / "published", "v1")
    source.follow_pointer()
    assert source.current is not None
    before = source.current.variants[0].bundle
    publish(tmp_path / "published", "v1", "v2")
    assert source.follow_pointer()
    assert versions(source) == {"champion": "v1", "challenger-1": "v2"}
    assert source.current.variants[0].bundle is before


def damage_a_file(root: Path) -> None:
    array = next(bundle_directory(root, "v2").glob("models/*/*.npy"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(bytes(content))


def lose_a_file(root: Path) -> None:
    (bundle_directory(root, "v2") / "items.json").unlink()


def age_the_schema(root: Path) -> None:
    path = bundle_directory(root, "v2") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema_version": 0}))


def lie_about_the_version(root: Path) -> None:
    path = bundle_directory(root, "v2") / "manifest.json"
    path.write_text(path.read_text().replace('"v2"', '"v3"'))


def name_a_missing_bundle(root: Path) -> None:
    write_publication(root, Publication(variants=[Variant(name="champion", model_version="gone")]))


def share_nothing(root: Path) -> None:
    nobody = Variant(name="champion", model_version="v2", share=0.0)
    write_publication(root, Publication(variants=[nobody]))


def break_the_pointer(root: Path) -> None:
    (root / POINTER).write_text('{"variants": [')


@pytest.mark.parametrize(
    "harm",
    [
        damage_a_file,
        lose_a_file,
        age_the_schema,
        lie_about_the_version,
        name_a_missing_bundle,
        share_nothing,
        break_the_pointer,
    ],
)
def test_what_cannot_be_served_is_refused_and_counted_and_the_version_before_stays(
    source: BundleSource,
    tmp_path: Path,
    publish: Callable[..., None],
    harm: Callable[[Path], None],
) -> None:
    root = tmp_path / "published"
    publish(root, "v1")
    source.follow_pointer()
    publish(root, "v2")
    harm(root)
    assert not source.follow_pointer()
    assert versions(source) == {"champion": "v1"}
    assert refusals(source) == 1
    assert not source.follow_pointer()
    assert refusals(source) == 1


def test_a_bundle_that_cannot_answer_a_placement_is_refused(
    source: BundleSource, tmp_path: Path, bundle: Bundle
) -> None:
    root = tmp_path / "published"
    broken = Placement(name="for_you", blend={"a_model_that_it_lacks": 1.0})
    save_bundle(replace(bundle, placements={"for_you": broken}), bundle_directory(root, "v1"))
    write_publication(root, Publication(variants=[Variant(name="champion", model_version="v1")]))
    assert not source.follow_pointer()
    assert source.current is None
    assert refusals(source) == 1


def test_a_refused_publication_is_tried_again_after_a_while(
    source: BundleSource, tmp_path: Path, publish: Callable[..., None], clock: Clock
) -> None:
    root = tmp_path / "published"
    publish(root, "v1")
    away = bundle_directory(root, "elsewhere")
    bundle_directory(root, "v1").rename(away)
    assert not source.follow_pointer()
    away.rename(bundle_directory(root, "v1"))
    assert not source.follow_pointer()
    clock.seconds = 31
    assert source.follow_pointer()
    assert versions(source) == {"champion": "v1"}


def test_changes_of_the_catalogue_are_in_force_in_all_variants_and_survive_a_swap(
    source: BundleSource, store: SQLiteStore, tmp_path: Path, publish: Callable[..., None]
) -> None:
    root = tmp_path / "published"
    publish(root, "v1", "v2")
    source.follow_pointer()

    def on_offer() -> list[bool]:
        assert source.current is not None
        return [
            bool(variant.live_catalog.eligible(NOW)[variant.bundle.items.number("star") or 0])
            for variant in source.current.variants
        ]

    assert on_offer() == [True, True]
    store.put_items([Item(item_id="star", stock=0)], received_at=NOW)
    assert source.follow_catalog()
    assert on_offer() == [False, False]
    assert not source.follow_catalog()
    publish(root, "v3")
    source.follow_pointer()
    assert on_offer() == [False]
    store.put_items([Item(item_id="star", stock=3)], received_at=NOW)
    assert source.follow_catalog()
    assert on_offer() == [True]


def test_without_the_store_a_bundle_is_served_with_its_own_catalogue(
    source: BundleSource, store: SQLiteStore, tmp_path: Path, publish: Callable[..., None]
) -> None:
    publish(tmp_path / "published", "v1")
    store.close()
    assert source.follow_pointer()
    assert not source.follow_catalog()
    assert versions(source) == {"champion": "v1"}
    publication = read_publication(tmp_path / "published")
    assert publication is not None
