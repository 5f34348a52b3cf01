"""An experiment as a shop runs it: two published versions, two workers, outcomes over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from running_service import Service, patient_config

from recsys.bundle.publication import Publication, Variant, write_publication
from recsys.experiments.ab_test import ExperimentRules
from recsys.store.sqlite import SQLiteStore
from training.cli.app import main
from training.pipeline.experiments import report, start, stop
from training.workspace import Workspace

YES = {"personalization": True}
ALL = {"personalization": True, "analytics": True}
PERSONS = 160


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None]
) -> Iterator[Service]:
    """Two workers over two versions in equal shares, in an experiment called `autumn`."""
    workspace = Workspace(tmp_path_factory.mktemp("experiment")).create()
    publish(workspace.published, "v1", "v2")
    champion = Variant(name="champion", model_version="v1")
    write_publication(workspace.published, Publication(variants=[champion]))
    start(workspace, None, {"champion": 1, "v2": 1}, id="autumn", at=datetime.now(UTC))
    config = patient_config(workspace.root)
    with Service.start(workspace.root, workers=2, config=config) as service:
        yield service


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    """Every request over a connection of its own, so that any worker may answer."""
    with httpx.Client(base_url=service.url, headers={"Connection": "close"}, timeout=60) as http:
        yield http


def variants_of(http: httpx.Client, *, times: int, **user: str) -> set[str]:
    """The variants that a person gets, asking so many times."""
    body = {"user": user, "placements": [{"placement": "for_you"}], "consent": YES}
    answers = [http.post("/v1/recommendations", json=body) for _ in range(times)]
    return {answer.json()["variant"] for answer in answers}


def event(kind: str, *items: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"{kind}-{fields}",
        "event": kind,
        "timestamp": datetime.now(UTC).isoformat(),
        "items": [{"item_id": item, "price": 10.0} for item in items],
        "consent": ALL,
        **fields,
    }


def test_a_person_has_one_variant_in_every_worker(http: httpx.Client) -> None:
    of_persons = [variants_of(http, times=6, user_id=f"somebody-{n}") for n in range(12)]
    assert all(len(variants) == 1 for variants in of_persons)
    assert set.union(*of_persons) == {"champion", "v2"}


def test_who_logs_in_keeps_the_variant(service: Service, http: httpx.Client) -> None:
    before = {}
    with service.client() as client:
        for n in range(16):
            (before[n],) = variants_of(http, times=1, anonymous_id=f"visitor-{n}")
            joined = {"anonymous_id": f"visitor-{n}", "user_id": f"customer-of-{n}"}
            if n % 2:
                # Both ids are sent before the login is told.
                assert variants_of(http, times=2, **joined) == {before[n]}
            assert client.send_events([event("identify", **joined)]).accepted == 1
            for ids in (
                joined,
                {"user_id": f"customer-of-{n}"},
                {"anonymous_id": f"visitor-{n}"},
            ):
                assert variants_of(http, times=3, **ids) == {before[n]}
    assert set(before.values()) == {"champion", "v2"}


def test_what_is_served_side_by_side_can_be_asked_for(http: httpx.Client) -> None:
    served = http.get("/v1/experiments").json()
    assert served["experiment"] == "autumn"
    assert datetime.fromisoformat(served["started_at"]) < datetime.now(UTC)
    assert served["variants"] == [
        {"name": "champion", "model_version": "v1", "share": 0.5},
        {"name": "v2", "model_version": "v2", "share": 0.5},
    ]


def test_outcomes_reach_the_report_and_the_daily_figures(
    service: Service, http: httpx.Client
) -> None:
    rng = np.random.default_rng(4)
    workspace = Workspace(service.workspace)
    since, clicked, bought = datetime.now(UTC), 0, 0
    with service.client() as client:
        for n in range(PERSONS):
            user = {"user_id": f"buyer-{n}"}
            answer = client.recommend(user, [{"placement": "similar", "items": ["tea-03"]}],
                                      consent=YES)  # fmt: skip
            item = answer.placements[0].items[0].item_id
            named = {"recommendation_id": answer.recommendation_id, **user}
            events = [event("select_item", item, **named)] if rng.random() < 0.5 else []
            clicked += len(events)
            if rng.random() < (0.7 if answer.variant == "v2" else 0.1):
                events.append(event("purchase", item, **user))
                bought += 1
            if events:
                client.send_events(events)
    store = SQLiteStore(workspace.store)
    try:
        service.wait_until(
            lambda: len(store.answers(since=since, until=datetime.now(UTC))) >= PERSONS
        )
        served = report(
            workspace,
            store,
            None,
            id="autumn",
            now=datetime.now(UTC),
            rules=ExperimentRules(min_persons=20, min_days=0),
        )
    finally:
        store.close()
    conversion = served.report.of("v2", "conversion")
    assert conversion.direction == 1
    assert served.report.persons_in_several_variants == 0
    assert served.report.split_p > 0.001
    assert "v2 has a higher conversion than champion" in served.report.verdict[0]
    answer = http.get("/v1/kpi")
    assert answer.status_code == 200, answer.text
    figures = answer.json()
    today = [row for row in figures["placements"] if row["placement"] == "similar"]
    assert sum(row["lists"] for row in today) == PERSONS
    assert sum(row["clicked"] for row in today) == clicked
    assert sum(row["bought"] for row in today) == bought
    assert sum(row["revenue"] for row in today) == pytest.approx(10.0 * bought)
    assert figures["experiment"]["experiment"] == "autumn"
    assert [variant["name"] for variant in figures["experiment"]["variants"]] == ["champion", "v2"]
    assert "buyer-" not in str(figures)


def test_who_does_not_allow_analytics_is_in_no_figure_of_any_reader(
    service: Service, http: httpx.Client
) -> None:
    """Ten buyers, of whom four refuse after the purchase: the six others are counted."""
    workspace = Workspace(service.workspace)
    asked = {"placement": "bought_together", "items": ["tea-01"]}
    since = datetime.now(UTC)
    with (
        contextlib.closing(SQLiteStore(workspace.store)) as store,
        service.client() as client,
    ):
        for n in range(10):
            user = {"user_id": f"asked-{n}"}
            answer = client.recommend(user, [asked], consent=YES)
            item = answer.placements[0].items[0].item_id
            named = {"recommendation_id": answer.recommendation_id, **user}
            client.send_events(
                [event("select_item", item, **named), event("purchase", item, **named)]
            )
        service.wait_until(lambda: len(store.answers(since=since, until=datetime.now(UTC))) == 10)
        before = persons_reported(workspace, store)
        refusal = {"personalization": True, "analytics": False}
        client.send_events(
            [event("view_item", "tea-05", user_id=f"asked-{n}", consent=refusal) for n in range(4)]
        )
        assert store.unmeasured() == {f"u:asked-{n}" for n in range(4)}
        assert persons_reported(workspace, store) == before - 4
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["kpi", "--workspace", str(workspace.root)])
    written = msgspec.json.decode(workspace.kpi.read_bytes())
    assert of_bought_together(written) == (6, 6, 6, 6, 60.0)
    service.wait_until(lambda: of_bought_together(http.get("/v1/kpi").json()) == (6, 6, 6, 6, 60.0))


def persons_reported(workspace: Workspace, store: SQLiteStore) -> int:
    """How many persons the report of the experiment counts."""
    rules = ExperimentRules(min_persons=2, min_days=0)
    now = datetime.now(UTC)
    outcome = report(workspace, store, None, id="autumn", now=now, rules=rules)
    return sum(variant.persons for variant in outcome.report.variants)


def of_bought_together(figures: dict[str, Any]) -> tuple[float, ...] | None:
    """Lists, persons, clicks, purchases and revenue of that placement."""
    names = ("lists", "persons", "clicked", "bought", "revenue")
    for row in figures["placements"]:
        if row["placement"] == "bought_together":
            return tuple(row[name] for name in names)
    return None


def test_an_answer_without_consent_is_in_no_variants_persons(service: Service) -> None:
    asked = {
        "user": {"user_id": "private"},
        "consent": {"personalization": False},
        "placements": [{"placement": "trending"}],
    }
    since = datetime.now(UTC)
    assert service.post("/v1/recommendations", json=asked).status_code == 200
    store = SQLiteStore(Workspace(service.workspace).store)
    try:
        service.wait_until(lambda: bool(store.answers(since=since, until=datetime.now(UTC))))
        (logged,) = store.answers(since=since, until=datetime.now(UTC))
    finally:
        store.close()
    assert logged.person is None
    assert logged.variant in {"champion", "v2"}


def test_the_end_of_the_experiment_gives_everybody_the_champion(
    service: Service, http: httpx.Client
) -> None:
    stop(Workspace(service.workspace), at=datetime.now(UTC) + timedelta(seconds=1))
    persons = [f"somebody-{n}" for n in range(12)]
    service.wait_until(
        lambda: all(
            variants_of(http, times=2, user_id=person) == {"champion"} for person in persons
        )
    )
    assert http.get("/v1/experiments").json()["experiment"] is None
