"""A workspace from Python: its events, its catalogue, and the champion's answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Publication, Variant, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.errors import BundleError, InsufficientData, InvalidInput
from recsys.events.log import EventLog
from recsys.events.schema import Consent, Event, EventItem
from recsys.opened_workspace import (
    EVENT_LOG,
    PUBLISHED,
    STORE,
    OpenedWorkspace,
    open_workspace,
)
from recsys.store.sqlite import SQLiteStore
from recsys.synthetic import simulate
from training.workspace import Workspace

YES = Consent(personalization=True, analytics=True)


@pytest.fixture(scope="module")
def root(small_shop, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a month of events in the log, a published bundle and one event since."""
    workspace = Workspace(tmp_path_factory.mktemp("opened")).create()
    store = SQLiteStore(workspace.store)
    store.put_items(small_shop.shop.items, received_at=small_shop.end)
    store.put_profiles(small_shop.shop.profiles, received_at=small_shop.end)
    for batch in simulate(small_shop.shop, days=30, rng=np.random.default_rng(5)):
        if batch:
            store.append(batch, received_at=small_shop.end)
    store.archive(EventLog(workspace.event_log))
    last = Event(
        event_id="after-the-night",
        event="purchase",
        timestamp=bundle.manifest.as_of + timedelta(days=1),
        user_id="c-0001",
        items=[EventItem(item_id=bundle.items.id(7), price=3.0)],
        consent=YES,
    )
    brand_new = Event(
        event_id="of-a-new-item",
        event="view_item",
        timestamp=bundle.manifest.as_of + timedelta(days=1),
        user_id="c-0001",
        items=[EventItem(item_id="aaa-brand-new")],
        consent=YES,
    )
    store.append([last, brand_new], received_at=small_shop.end)
    store.close()
    save_bundle(bundle, workspace.published / "bundles" / "v1")
    champion = Variant(name="champion", model_version="v1")
    write_publication(workspace.published, Publication(variants=[champion]))
    return workspace.root


@pytest.fixture
def opened(root: Path) -> Iterator[OpenedWorkspace]:
    with recsys.open(root) as workspace:
        yield workspace


def test_events_hold_what_is_in_the_log_and_what_waits_beside_it(opened: OpenedWorkspace) -> None:
    events = opened.events()
    assert events["event_id"].tolist()[-2:] == ["after-the-night", "of-a-new-item"]
    assert events["timestamp"].is_monotonic_increasing
    assert not events.duplicated(["event_id", "item_id"]).any()


def test_the_events_are_a_frame_to_learn_from(opened: OpenedWorkspace) -> None:
    again = recsys.TrainingData.from_events(opened.events())
    data = opened.training_data()
    assert again.as_of == data.as_of
    columns = data.items.numbers(again.items.ids())
    assert (again.interactions != data.interactions[:, columns]).nnz == 0


def test_items_are_the_catalogue_of_today(opened: OpenedWorkspace, small_shop) -> None:
    items = opened.items()
    assert sorted(items.index) == sorted(item.item_id for item in small_shop.shop.items)
    assert {"title", "brand", "price", "category"} <= set(items.columns)


def test_the_champion_answers_with_what_happened_since(
    opened: OpenedWorkspace, bundle: Bundle
) -> None:
    asked = pd.DataFrame({"user_id": ["c-0001"]})
    now = opened.recommend(asked, n=10)["item_ids"][0]
    before = opened.recommend(asked, n=10, as_of=bundle.manifest.as_of)["item_ids"][0]
    assert now != before


def test_the_champion_is_evaluated_on_what_came_after_it(
    opened: OpenedWorkspace, bundle: Bundle
) -> None:
    split = opened.held_out(cut=bundle.manifest.as_of)
    assert split.persons == ("u:c-0001",)
    table = opened.evaluate(split, ["recall_at_10"])
    assert table.loc["recall_at_10", "customers"] == 1


def test_factors_are_those_of_the_champions_model(opened: OpenedWorkspace, bundle: Bundle) -> None:
    vectors = opened.factors("als")
    np.testing.assert_array_equal(vectors.to_numpy(), bundle.models["als"].item_factors)
    assert vectors.index.tolist() == bundle.items.ids()


def test_what_is_no_workspace_or_holds_nothing_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="made by `recsys import`"):
        open_workspace(tmp_path)
    Workspace(tmp_path).create()
    SQLiteStore(tmp_path / "store.sqlite").close()
    with recsys.open(tmp_path) as empty:
        with pytest.raises(InsufficientData, match="has no event"):
            empty.events()
        with pytest.raises(BundleError, match="nothing was published"):
            empty.recommend(pd.DataFrame({"country": ["NL"]}))
        assert repr(empty) == f"<OpenedWorkspace {tmp_path}>"


def test_the_names_of_a_workspaces_parts_are_those_that_training_writes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.event_log == tmp_path / EVENT_LOG
    assert workspace.store == tmp_path / STORE
    assert workspace.published == tmp_path / PUBLISHED
