"""Reasons and social proof as a shop meets them: a started service, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from running_service import Service

YES = {"personalization": True}


@pytest.fixture
def service(shared_service: Service) -> Service:
    """The shop finds tea a sensitive matter."""
    return shared_service


@pytest.fixture
def ask(service: Service) -> Callable[..., dict[str, Any]]:
    """The items of one placement, with whatever else the request says."""

    def items(
        user: str, placement: str = "for_you", *page: str, **options: Any
    ) -> list[dict[str, Any]]:
        body = {
            "user": {"user_id": user},
            "placements": [{"placement": placement, "k": 6, "items": list(page)}],
            "explain": True,
            **options,
        }
        answer = service.post("/v1/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        items_shown: list[dict[str, Any]] = answer.json()["placements"][0]["items"]
        return items_shown

    return items


def happened(service: Service, user: str, kind: str, item: str) -> None:
    event = {
        "event_id": f"{user}-{kind}-{item}",
        "event": kind,
        "timestamp": datetime.now(UTC).isoformat(),
        "user_id": user,
        "items": [{"item_id": item}],
        "consent": YES,
    }
    with service.client() as client:
        assert client.send_events([event]).accepted == 1


def test_a_reason_names_what_the_person_did_in_the_language_of_the_request(service, ask) -> None:
    happened(service, "reader", "purchase", "coffee-01")
    for language, text in (
        (None, "because you bought Coffee thing 1"),
        ("nl", "omdat je Coffee thing 1 hebt gekocht"),
    ):
        (first, *_) = ask("reader", language=language)
        (reason, *_) = first["reasons"]
        assert (reason["code"], reason["text"]) == ("bought", text)
        assert reason["item_id"] == "coffee-01"
    (first, *_) = ask("reader", language="nl")
    assert first["source_text"] == "gekozen door mensen met jouw smaak"


def test_a_pair_tells_how_many_customers_bought_it(ask) -> None:
    reasons = [
        reason
        for item in ask("nobody", "bought_together", "coffee-01")
        for reason in item["reasons"]
        if reason["code"] == "bought_with"
    ]
    assert reasons
    for reason in reasons:
        assert reason["text"] == "often bought with Coffee thing 1"
        assert reason["facts"]["customers"] >= 5
        assert reason["facts"]["lift"] > 1


def test_nothing_sensitive_is_named(service, ask) -> None:
    happened(service, "discreet", "purchase", "tea-01")
    happened(service, "discreet", "view_item", "coffee-02")
    given = [*ask("discreet"), *ask("discreet", "similar", "tea-02")]
    reasons = [reason for item in given for reason in item["reasons"]]
    assert reasons
    assert not any("tea" in str(reason).lower() for reason in reasons)
    assert any("Coffee thing 2" in reason["text"] for reason in reasons)


def test_no_reason_names_another_customer(ask) -> None:
    assert "customer-" not in str(ask("nobody")) + str(ask("customer-2", "similar", "coffee-03"))


def test_social_proof_comes_when_it_is_asked_for_and_never_of_too_few(ask) -> None:
    shown = ask("nobody", social_proof=True)
    proofs = {item["item_id"]: item["social_proof"] for item in shown if "social_proof" in item}
    assert proofs["star"]["customers"] == 60
    assert proofs["star"]["days"] == 60
    assert proofs["star"]["as_of"] == "2026-11-01T00:00:00Z"
    assert all(proof["customers"] >= 5 for proof in proofs.values())
    assert not any("social_proof" in item for item in ask("nobody"))


def test_what_the_shop_pins_or_promotes_is_said_to_be_its_choice(service: Service) -> None:
    asked = {
        "placement": "trending",
        "k": 4,
        "pin": [{"item_id": "coffee-07", "position": 0}],
        "boost": [{"where": {"item_id": "star"}, "factor": 50}],
    }
    answer = service.post("/v1/recommendations", json={"placements": [asked], "explain": True})
    items = {item["item_id"]: item["reasons"] for item in answer.json()["placements"][0]["items"]}
    assert items["coffee-07"][0]["text"] == "chosen by the shop"
    for item, reasons in items.items():
        promised = item in ("coffee-07", "star")
        assert any(reason["code"] == "chosen_by_shop" for reason in reasons) == promised


def test_a_language_that_is_not_spoken_is_refused(service: Service) -> None:
    body = {"placements": [{"placement": "trending"}], "language": "xx"}
    answer = service.post("/v1/recommendations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "language"
