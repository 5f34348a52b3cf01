"""A store, an event log and a bundle that an earlier version wrote are read as it read them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import read_training_data
from recsys.events.log import EventLog
from recsys.events.schema import Consent, Person
from recsys.events.weighting import Weighting
from recsys.query.builder import build_query
from recsys.query.facts import PersonFacts
from recsys.query.feedback import feedback_state
from recsys.query.history import event_rows
from recsys.query.preferences import Exclusions, Interests
from recsys.query.profile import Profile
from recsys.query.query import Query
from recsys.recommend.operations import recommend
from recsys.store.sqlite import SQLiteStore

BEFORE = Path(__file__).parent / "data" / "workspace_before"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)
KNOWN = Person("known")
N = 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """A copy of the earlier store: opening may write into it."""
    path = tmp_path / "store.sqlite"
    shutil.copyfile(BEFORE / "store.db", path)
    store = SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(BEFORE / "bundle")


def lists(bundle: Bundle, query: Query, placement: str) -> list[dict[str, Any]]:
    seeds = bundle.items.known(["mug-1"])
    asked = query if placement in ("for_you", "popular") else replace(query, seeds=seeds)
    live = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    (answer,) = recommend(bundle, [asked], bundle.placements[placement], live, N)
    return [
        {
            "item_id": bundle.items.id(item.number),
            "score": pytest.approx(item.score, abs=1e-3),
            "source": item.source,
            "level": item.level,
        }
        for item in answer.items
    ]


def expected(who: str) -> dict[str, list[dict[str, Any]]]:
    """Placement → the list that the earlier version gave, from its `answers.json`."""
    answers = json.loads((BEFORE / "answers.json").read_bytes())
    return {key.split("/")[1]: rows for key, rows in answers.items() if key.startswith(f"{who}/")}


def test_a_persons_history_profile_consent_and_preferences_are_read_back(
    store: SQLiteStore,
) -> None:
    known = store.person(KNOWN)
    assert known.key == "u:known"
    assert known.assigned == "a:browser-of-known"
    assert [(event.item_id, event.kind) for event in known.history] == [
        ("lamp-4", "view_item"),
        ("mug-1", "view_item"),
        ("mug-1", "add_to_cart"),
        ("mug-1", "purchase"),
        ("pen-2", "purchase"),
        ("mug-2", "view_item_list"),
        ("mug-3", "view_item_list"),
        ("", "custom"),
        ("lamp-0", "feedback"),
        ("", "feedback"),
        ("lamp-3", "view_item"),
    ]
    refusal, category = known.history[8:10]
    assert refusal.action == "never_again"
    assert (category.action, category.category) == ("not_interested", "Home > Light")
    assert known.profile == Profile(
        user_id="known",
        country="NL",
        customer_group="gold",
        account_id="acme",
        traits={"age": 41.0, "pet": "cat"},
    )
    assert known.consent == YES
    preferences = store.preferences(KNOWN)
    assert preferences.interests == Interests(brands=["Acme"])
    assert preferences.exclusions == Exclusions(items=["pen-0"])


def test_visitors_refusals_and_erasures_are_read_back(store: SQLiteStore) -> None:
    visitor = store.person(Person(anonymous_id="visitor"))
    assert [event.item_id for event in visitor.history] == ["lamp-1"]
    assert visitor.profile.country == "DE"
    assert store.denied() == {"u:refuses", "a:objecting"}
    assert store.person(Person("refuses")).history == ()
    erased = store.person(Person("gone"))
    assert (erased.key, erased.history) == (None, ())
    receipt = store.erase(Person("gone"), receipt="x-2", at=NOW)
    assert (receipt.receipt, receipt.removed.history, receipt.log_rows) == ("x-1", 2, 2)


def test_catalogue_changes_and_logged_answers_are_read_back(store: SQLiteStore) -> None:
    stock = {item.item_id: item.stock for item in store.items()}
    assert len(stock) == 18
    assert stock["mug-5"] == 0.0
    (answer,) = store.answers(since=NOW, until=NOW + timedelta(seconds=1))
    assert (answer.person, answer.item_ids) == ("u:known", ["mug-2", "lamp-1"])


def test_events_of_the_earlier_store_go_on_into_the_earlier_log(
    store: SQLiteStore, tmp_path: Path
) -> None:
    shutil.copytree(BEFORE / "event_log", tmp_path / "event_log")
    log = EventLog(tmp_path / "event_log")
    assert store.archive(log) == 1
    rows, _ = log.rows_of([KNOWN], limit=100)
    assert rows[-1]["item_id"] == "lamp-3"


def test_the_earlier_log_is_training_data(store: SQLiteStore) -> None:
    data = read_training_data(
        EventLog(BEFORE / "event_log"),
        as_of=NOW,
        weighting=Weighting(),
        catalog=tuple(store.items()),
        profiles=store.profiles(),
        denied=frozenset(store.denied()),
    )
    assert data.interactions.shape == (22, 18)
    assert data.interactions.nnz == 107
    assert float(data.interactions.sum()) == pytest.approx(727.805, rel=1e-4)


def test_the_earlier_bundle_has_its_models_and_its_ranker(bundle: Bundle) -> None:
    assert bundle.model_version == "before"
    assert set(bundle.models) == {
        "popularity", "popularity_by_country", "repeat", "als", "item_item", "bought_together",
        "content", "session_knn", "tifu_knn",
    }  # fmt: skip
    assert set(bundle.rankers) == {"for_you"}
    assert set(bundle.manifest.private_models) == {"session_knn", "tifu_knn"}


@pytest.mark.parametrize("placement", ["for_you", "similar", "bought_together", "popular"])
def test_a_known_customer_gets_the_lists_of_before(
    bundle: Bundle, store: SQLiteStore, placement: str
) -> None:
    known = store.person(KNOWN)
    facts = PersonFacts(
        key="u:known",
        events=event_rows(known.history, bundle.items),
        feedback=feedback_state(known.history, now=NOW),
    )
    history = build_query(facts, bundle.query_settings(), now=NOW).history
    query = Query(now=NOW, history=history, profile=known.profile, known=True)
    assert lists(bundle, query, placement) == expected("known")[placement]


@pytest.mark.parametrize("placement", ["for_you", "similar", "bought_together", "popular"])
def test_a_stranger_gets_the_lists_of_before(bundle: Bundle, placement: str) -> None:
    assert lists(bundle, Query(now=NOW), placement) == expected("stranger")[placement]
