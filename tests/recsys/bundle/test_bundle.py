"""A bundle is complete or refused, and answers the same after it was saved."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import public_files, read_manifest
from recsys.bundle.save_load import load_bundle, load_public_bundle, save_bundle
from recsys.bundle.social_proof import SocialProofConfig, social_proof
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Boost, Rules, Where
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import EVENT_KINDS
from recsys.query.builder import build_query
from recsys.query.facts import PersonFacts
from recsys.query.feedback import feedback_state
from recsys.query.history import History, StoredEvent, event_rows
from recsys.recommend.operations import recommend
from recsys.recommend.rule_engine import compile_rules
from recsys.recommend.suppression import suppress


def answers(bundle: Bundle, data: TrainingData) -> list[list[tuple[int, float, str]]]:
    queries = data.queries(data.users.ids()[:20], now=data.as_of)
    live_catalog = LiveCatalog.of(bundle.catalog)
    return [
        [(item.number, round(item.score, 5), item.source) for item in answer.items]
        for name in ("for_you", "trending")
        for answer in recommend(bundle, queries, bundle.placements[name], live_catalog, 10)
    ]


def test_a_loaded_bundle_answers_as_the_saved_one(
    bundle: Bundle, small_data: TrainingData, tmp_path: Path
) -> None:
    loaded = load_bundle(save_bundle(bundle, tmp_path / "v1"))
    assert loaded.items == bundle.items
    assert loaded.catalog.items == bundle.catalog.items
    assert loaded.placements == bundle.placements
    assert answers(loaded, small_data) == answers(bundle, small_data)


def test_arrays_are_mapped_and_cannot_be_written(bundle: Bundle, tmp_path: Path) -> None:
    loaded = load_bundle(save_bundle(bundle, tmp_path / "v1"))
    array = loaded.models["als"].arrays()["item_factors"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0.0


def test_nothing_in_a_bundle_is_pickled(bundle: Bundle, tmp_path: Path) -> None:
    directory = save_bundle(bundle, tmp_path / "v1")
    suffixes = {path.suffix for path in directory.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".npy"}
    for path in directory.rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_a_changed_byte_is_found(bundle: Bundle, tmp_path: Path) -> None:
    directory = save_bundle(bundle, tmp_path / "v1")
    victim = max(directory.rglob("*.npy"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(directory)


def test_a_missing_and_an_added_file_are_found(bundle: Bundle, tmp_path: Path) -> None:
    directory = save_bundle(bundle, tmp_path / "v1")
    (directory / "more.json").write_text("{}")
    with pytest.raises(BundleError, match=r"more\.json"):
        load_bundle(directory)
    (directory / "more.json").unlink()
    (directory / "items.json").unlink()
    with pytest.raises(BundleError, match=r"items\.json"):
        load_bundle(directory)


def test_another_schema_is_refused_with_the_remedy(bundle: Bundle, tmp_path: Path) -> None:
    directory = save_bundle(bundle, tmp_path / "v1")
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(BundleError, match="Train again"):
        load_bundle(directory)


def test_a_version_is_written_once(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "v1")
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(bundle, tmp_path / "v1")


def test_a_save_that_fails_leaves_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_bundle(bundle, tmp_path / "v1")
    assert list(tmp_path.iterdir()) == []


def history_in(bundle: Bundle, events: Sequence[StoredEvent], *, now: datetime) -> History:
    """The history of a query for a customer of these events."""
    facts = PersonFacts(
        key="u:someone",
        events=event_rows(events, bundle.items),
        feedback=feedback_state(events, now=now),
    )
    return build_query(facts, bundle.query_settings(), now=now).history


def test_a_stored_history_weighs_as_in_training(bundle: Bundle, small_data: TrainingData) -> None:
    user = int(np.argmax(np.diff(small_data.timeline.starts)))
    history = small_data.history(user, now=small_data.as_of)
    stored = [
        StoredEvent(small_data.items.id(item), EVENT_KINDS[kind], time)
        for item, kind, time in zip(
            history.items.tolist(), history.kinds.tolist(), history.times.tolist(), strict=True
        )
    ]
    again = history_in(bundle, stored, now=small_data.as_of)
    np.testing.assert_array_equal(again.items, history.items)
    np.testing.assert_allclose(again.weights, history.weights, rtol=1e-6)


def test_items_that_the_bundle_does_not_know_are_left_out(bundle: Bundle) -> None:
    known = bundle.items.id(0)
    now = bundle.manifest.as_of
    events = [StoredEvent("no-such", "view_item", 0.0), StoredEvent(known, "view_item", 1.0)]
    assert history_in(bundle, events, now=now).items.tolist() == [0]


def test_a_bundle_that_has_waited_weighs_a_history_as_on_its_day(bundle: Bundle) -> None:
    as_of = bundle.manifest.as_of
    events = [StoredEvent(bundle.items.id(0), "purchase", as_of.timestamp() - 86400)]
    fresh = history_in(bundle, events, now=as_of).weights
    late = history_in(bundle, events, now=as_of + timedelta(days=5000)).weights
    np.testing.assert_array_equal(fresh, late)


def test_a_no_and_its_undoing_are_no_history(bundle: Bundle) -> None:
    now = bundle.manifest.as_of
    item = bundle.items.id(0)
    no = StoredEvent(item, "feedback", now.timestamp() - 2, action="not_interested")
    undone = StoredEvent(item, "feedback", now.timestamp() - 1, action="undo")
    assert len(history_in(bundle, [no, undone], now=now)) == 0


def test_a_like_that_holds_is_part_of_the_history(bundle: Bundle) -> None:
    now = bundle.manifest.as_of
    first, second = bundle.items.id(0), bundle.items.id(1)
    feedback = [
        StoredEvent(id, "feedback", now.timestamp() - 9 + n, action=action)
        for n, (id, action) in enumerate([(first, "like"), (second, "like"), (first, "like")])
    ]
    history = history_in(bundle, feedback, now=now)
    assert history.items.tolist() == [1, 0]
    assert (history.weights > 0).all()
    undo = StoredEvent(first, "feedback", now.timestamp(), action="undo")
    assert history_in(bundle, [*feedback, undo], now=now).items.tolist() == [1]


def test_a_disliked_item_leaves_nothing_in_the_history(bundle: Bundle) -> None:
    now = bundle.manifest.as_of
    seen = [
        StoredEvent(bundle.items.id(number), "view_item", now.timestamp() - 9) for number in (0, 1)
    ]
    for action, left in (("never_again", [1]), ("snooze", [0, 1])):
        no = StoredEvent(bundle.items.id(0), "feedback", now.timestamp() - 1, action=action)
        assert history_in(bundle, [*seen, no], now=now).items.tolist() == left


PERSONAL = {"session_knn", "tifu_knn", "up_cf"}


def test_stored_rows_of_erased_persons_are_left_out(
    bundle: Bundle, small_data: TrainingData
) -> None:
    everybody = pseudonyms_of(small_data.users.ids())
    left = bundle.drop_users(everybody)
    changed = {name for name, model in left.models.items() if model is not bundle.models[name]}
    assert changed == PERSONAL
    assert all(not len(left.models[name].arrays()["owners"]) for name in PERSONAL)
    assert left.drop_users(everybody) is left
    assert bundle.drop_users(pseudonyms_of(["u:nobody"])) is bundle


def test_a_bundle_names_its_private_models_and_is_refused_without_them(
    bundle: Bundle, tmp_path: Path
) -> None:
    directory = save_bundle(bundle, tmp_path / "v1")
    assert set(read_manifest(directory).private_models) == PERSONAL
    public = set(public_files(directory))
    assert not any(name.split("/")[1] in PERSONAL for name in public if name.startswith("models/"))
    shutil.rmtree(directory / "models" / "up_cf")
    with pytest.raises(BundleError, match="store rows of customers"):
        load_bundle(directory)


def test_a_public_copy_answers_without_the_models_that_store_customers(
    bundle: Bundle, small_data: TrainingData, tmp_path: Path
) -> None:
    mixed = bundle.placements["for_you"].with_blend({"up_cf": 0.5, "repeat": 0.5})
    plain = mixed.with_blend({"repeat": 0.5})
    placements = {**bundle.placements, "for_you": mixed}
    directory = save_bundle(replace(bundle, placements=placements), tmp_path / "v1")
    for name in PERSONAL:
        shutil.rmtree(directory / "models" / name)
    copy = load_public_bundle(directory)
    assert PERSONAL & set(copy.models) == set()
    assert copy.placements["for_you"] == plain
    expected = replace(bundle, placements={**bundle.placements, "for_you": plain})
    assert answers(copy, small_data) == answers(expected, small_data)
    (directory / "items.json").unlink()
    with pytest.raises(BundleError, match=r"items\.json"):
        load_public_bundle(directory)


def test_a_placement_left_without_a_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    alone = {"for_you": bundle.placements["for_you"].with_blend({"up_cf": 1.0})}
    directory = save_bundle(replace(bundle, placements=alone), tmp_path / "v1")
    assert load_public_bundle(directory).placements == alone
    shutil.rmtree(directory / "models" / "up_cf")
    with pytest.raises(BundleError, match="without a model: up_cf"):
        load_public_bundle(directory)


def test_a_bundle_and_the_values_of_a_list_print_in_a_short_line(
    bundle: Bundle, small_data: TrainingData
) -> None:
    live_catalog = LiveCatalog.of(bundle.catalog)
    (query,) = small_data.queries(small_data.users.ids()[:1], now=small_data.as_of)
    placement = bundle.placements["for_you"]
    suppression = suppress(query, placement, live_catalog, bundle.models)
    rules = compile_rules(live_catalog, query.now, request=Rules(boost=[Boost(Where(), 2.0)]))
    counts = social_proof(small_data, SocialProofConfig())
    sizes = f"150 items, {len(bundle.models)} models, {len(bundle.placements)} placements"
    assert repr(bundle) == f"Bundle('v1', {sizes})"
    for value in (bundle, suppression, rules, counts, replace(bundle, social_proof=counts)):
        assert len(repr(value)) < 300, type(value)
        assert "array" not in repr(value)
