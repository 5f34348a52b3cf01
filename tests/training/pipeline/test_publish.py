"""The pointer and the bundles beside it, at every moment at which a process may die."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import (
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    write_publication,
)
from recsys.bundle.save_load import load_bundle
from recsys.errors import BundleError
from training.pipeline.publish import (
    RowsGone,
    promote,
    prune,
    publish,
    roll_back,
    rollback,
    settle,
    stage,
)
from training.tracking import Tracking, TrackingError

MakeBundle = Callable[..., Path]
Register = Callable[..., str]


class Died(BaseException):
    """The process ended here."""


def die(bundle: Bundle) -> None:
    raise Died


def refuse(bundle: Bundle) -> None:
    raise BundleError(f"{bundle.model_version} is no good")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "published"


def served(root: Path) -> tuple[str, str | None]:
    publication = read_publication(root)
    assert publication is not None
    version = publication.champion.model_version
    assert load_bundle(bundle_directory(root, version)).model_version == version
    return version, publication.previous


def directories(root: Path) -> set[str]:
    return {path.name for path in (root / "bundles").iterdir()}


def damage(directory: Path) -> None:
    (directory / "items.json").write_text("[]")


def test_the_published_bundle_is_served_and_the_one_before_is_remembered(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root)
    assert served(root) == ("night-1", None)
    publish(make_bundle("night-2"), root=root)
    assert served(root) == ("night-2", "night-1")


def test_publishing_twice_is_publishing_once(root: Path, make_bundle: MakeBundle) -> None:
    publish(make_bundle("night-1"), root=root)
    source = make_bundle("night-2")
    first = publish(source, root=root)
    pointer = root / "current.json"
    before = pointer.stat().st_ino
    assert publish(source, root=root) == first
    assert pointer.stat().st_ino == before
    assert served(root) == ("night-2", "night-1")


def test_a_published_bundle_does_not_depend_on_where_it_came_from(
    root: Path, make_bundle: MakeBundle
) -> None:
    source = make_bundle("night-1")
    publish(source, root=root)
    damage(source)
    assert served(root) == ("night-1", None)


def test_a_damaged_bundle_is_not_published(root: Path, make_bundle: MakeBundle) -> None:
    publish(make_bundle("night-1"), root=root)
    source = make_bundle("night-2")
    damage(source)
    with pytest.raises(BundleError, match="damaged"):
        publish(source, root=root)
    assert served(root) == ("night-1", None)
    assert directories(root) == {"night-1"}


def test_a_bundle_that_fails_the_smoke_check_is_not_published(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root)
    with pytest.raises(BundleError, match="nothing to sell"):
        publish(make_bundle("night-2", withdrawn=True), root=root)
    with pytest.raises(BundleError, match="night-3 is no good"):
        publish(make_bundle("night-3"), root=root, check=refuse)
    assert served(root) == ("night-1", None)
    assert directories(root) == {"night-1"}


def test_another_bundle_under_a_published_version_is_refused(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root)
    with pytest.raises(BundleError, match="other files"):
        publish(make_bundle("night-1", loved="plate"), root=root)
    assert served(root) == ("night-1", None)


def test_publishing_again_mends_a_published_bundle_that_was_damaged(
    root: Path, make_bundle: MakeBundle
) -> None:
    source = make_bundle("night-1")
    publish(source, root=root)
    damage(bundle_directory(root, "night-1"))
    publish(source, root=root)
    assert served(root) == ("night-1", None)
    assert directories(root) == {"night-1"}


def test_publishing_again_mends_a_damaged_pointer(root: Path, make_bundle: MakeBundle) -> None:
    source = make_bundle("night-1")
    publish(source, root=root)
    (root / "current.json").write_text("{")
    publish(source, root=root)
    assert served(root) == ("night-1", None)


@pytest.mark.parametrize("version", ["", "..", ".hidden", "a/b"])
def test_a_version_that_is_no_directory_name_is_refused(
    root: Path, make_bundle: MakeBundle, version: str
) -> None:
    with pytest.raises(BundleError, match="names no directory"):
        stage(make_bundle(version), root=root)


def test_a_process_that_dies_before_the_pointer_moves_leaves_the_champion_serving(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root)
    source = make_bundle("night-2")
    with pytest.raises(Died):
        publish(source, root=root, check=die)
    assert served(root) == ("night-1", None)
    publish(source, root=root)
    assert served(root) == ("night-2", "night-1")


def test_what_a_dead_process_left_half_written_is_removed_and_what_a_living_one_writes_is_not(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        child = process.pid
    (root / "bundles" / f".night-2.{child}.writing").mkdir()
    (root / "bundles" / f".night-3.{os.getpid()}.writing").mkdir()
    prune(root, keep=3)
    assert directories(root) == {"night-1", f".night-3.{os.getpid()}.writing"}


def test_old_bundles_go_but_for_the_newest_and_those_that_the_pointer_names(
    root: Path, make_bundle: MakeBundle
) -> None:
    for n in range(1, 6):
        publish(make_bundle(f"night-{n}"), root=root, keep=3)
        moment = 1_700_000_000 + n
        os.utime(bundle_directory(root, f"night-{n}"), (moment, moment))
    assert directories(root) == {"night-3", "night-4", "night-5"}
    rollback(root)
    prune(root, keep=1)
    assert directories(root) == {"night-4", "night-5"}
    publish(make_bundle("night-6"), root=root, keep=None)
    assert directories(root) == {"night-4", "night-5", "night-6"}


def test_other_variants_stay_as_they_are_when_the_champion_changes(
    root: Path, make_bundle: MakeBundle
) -> None:
    publish(make_bundle("night-1"), root=root, share=0.9)
    publish(make_bundle("trial"), root=root, name="challenger", share=0.1)
    assert served(root) == ("night-1", None)
    for n in range(2, 5):
        publication = publish(make_bundle(f"night-{n}"), root=root, keep=1)
    assert publication.variants == [
        Variant(name="champion", model_version="night-4", share=0.9),
        Variant(name="challenger", model_version="trial", share=0.1),
    ]
    assert directories(root) == {"night-3", "night-4", "trial"}


def test_rollback_serves_the_champion_before_and_then_has_nothing_to_go_back_to(
    root: Path, make_bundle: MakeBundle
) -> None:
    with pytest.raises(BundleError, match="no champion before"):
        rollback(root)
    publish(make_bundle("night-1"), root=root)
    publish(make_bundle("night-2"), root=root)
    rollback(root)
    assert served(root) == ("night-1", None)
    with pytest.raises(BundleError, match="no champion before"):
        rollback(root)
    assert served(root) == ("night-1", None)


def test_rollback_to_a_damaged_bundle_is_refused(root: Path, make_bundle: MakeBundle) -> None:
    publish(make_bundle("night-1"), root=root)
    publish(make_bundle("night-2"), root=root)
    damage(bundle_directory(root, "night-1"))
    with pytest.raises(BundleError, match="damaged"):
        rollback(root)
    assert served(root) == ("night-2", "night-1")


def test_promotion_moves_the_registry_and_the_service_together_and_back(
    root: Path, tracking: Tracking, register: Register
) -> None:
    first, second, third = (register(f"night-{n}") for n in (1, 2, 3))
    for number in (first, second, third):
        promote(tracking, number, root=root)
    assert (tracking.champion().version, served(root)) == (third, ("night-3", "night-2"))
    roll_back(tracking, root=root)
    assert (tracking.champion().version, served(root)) == (second, ("night-2", "night-1"))
    roll_back(tracking, root=root)
    assert (tracking.champion().version, served(root)) == (first, ("night-1", None))
    with pytest.raises(TrackingError, match="No champion before"):
        roll_back(tracking, root=root)
    assert (tracking.champion().version, served(root)) == (first, ("night-1", None))


def test_a_rollback_fetches_a_bundle_that_was_pruned_from_the_registry(
    root: Path, tracking: Tracking, register: Register
) -> None:
    first, second = register("night-1"), register("night-2")
    promote(tracking, first, root=root)
    promote(tracking, second, root=root)
    alone = [Variant(name="champion", model_version="night-2")]
    write_publication(root, Publication(variants=alone))
    prune(root, keep=1)
    assert directories(root) == {"night-2"}
    roll_back(tracking, root=root)
    assert served(root) == ("night-1", None)


def test_a_version_that_cannot_serve_becomes_champion_nowhere(
    root: Path, tracking: Tracking, register: Register
) -> None:
    first, empty = register("night-1"), register("night-2", withdrawn=True)
    promote(tracking, first, root=root)
    with pytest.raises(BundleError, match="nothing to sell"):
        promote(tracking, empty, root=root)
    damage(tracking.bundle_directory(third := register("night-3")))
    with pytest.raises(BundleError, match="damaged"):
        promote(tracking, third, root=root)
    assert (tracking.champion().version, served(root)) == (first, ("night-1", None))


def test_settling_serves_the_champion_of_a_promotion_that_died_before_the_pointer(
    root: Path, tracking: Tracking, register: Register
) -> None:
    assert settle(tracking, root=root) is None
    first, second = register("night-1"), register("night-2")
    promote(tracking, first, root=root)
    assert settle(tracking, root=root) is None
    stage(tracking.bundle_directory(second), root=root)
    tracking.promote(second)
    assert served(root) == ("night-1", None)
    told = settle(tracking, root=root)
    assert told is not None
    assert "version 2" in told
    assert served(root) == ("night-2", "night-1")
    assert settle(tracking, root=root) is None


def test_settling_after_a_rollback_that_died_does_not_remember_the_bad_champion(
    root: Path, tracking: Tracking, register: Register
) -> None:
    for n in (1, 2, 3):
        promote(tracking, register(f"night-{n}"), root=root)
    tracking.rollback()
    settle(tracking, root=root)
    assert served(root) == ("night-2", "night-1")


def test_a_version_with_rows_of_customers_is_served_from_the_published_directory_alone(
    root: Path, tracking: Tracking, make_bundle: MakeBundle
) -> None:
    for n in (1, 2):
        directory = make_bundle(f"night-{n}", customers=True)
        with tracking.run("nightly", params={}, tags={}) as run:
            run.log_bundle(directory)
            number = tracking.register(run, tags={})
        with pytest.raises(RowsGone, match="up_cf store rows of customers"):
            promote(tracking, number, root=root)
        stage(directory, root=root)
        promote(tracking, number, root=root)
    assert served(root) == ("night-2", "night-1")
    assert "up_cf" in load_bundle(bundle_directory(root, "night-2")).models
    roll_back(tracking, root=root)
    assert served(root) == ("night-1", None)


def test_a_champion_whose_rows_of_customers_are_gone_does_not_stop_the_next_night(
    root: Path, tracking: Tracking, register: Register
) -> None:
    promote(tracking, register("night-1"), root=root)
    tracking.promote(register("night-2", customers=True))
    told = settle(tracking, root=root)
    assert told is not None
    assert "cannot be served any more" in told
    assert served(root) == ("night-1", None)
