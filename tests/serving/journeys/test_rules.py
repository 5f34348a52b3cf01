"""Rules over HTTP against a service of two workers: filters, boosts, pins, quotas, diversity,
kinds, variants, stock, diagnostics, and another selection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from running_service import Service, patient_config

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()
CATALOG = [
    *(
        {
            "item_id": f"{kind}-{n:02d}",
            "category": ["Drinks", kind.title(), "Strong" if n > 6 else "Mild"],
            "brand": f"{kind}-brand" if n > 3 else "Harbour",
            "price": float(n),
            "attributes": {"organic": n % 2 == 0, "grams": 100.0 * n, "tags": ["new", f"t{n}"]},
        }
        for kind in ("coffee", "tea")
        for n in range(1, 11)
    ),
    {"item_id": "coffee-11", "kind": "article", "title": "How to brew"},
    {"item_id": "tea-11", "kind": "banner", "title": "Tea week"},
    {"item_id": "coffee-12", "variant_of": "star", "price": 5.0},
    {"item_id": "tea-12", "variant_of": "star", "price": 5.0},
]
"""What the shop puts before the tests: two kinds of drinks, an article, a banner, two variants."""


PLACEMENTS = f"""
placements:
  - name: ruled
    blend: {{{{popularity: 1.0}}}}
    rules:
      - name: tea only
        until: {TOMORROW}
        filter: {{{{category: Drinks > Tea}}}}
      - name: over
        until: {YESTERDAY}
        exclude: {{{{brand: tea-brand}}}}
      - from: {YESTERDAY}
        pin: [{{{{item_id: {{pinned}}, position: 0}}}}]
  - name: exploring
    blend: {{{{popularity: 1.0}}}}
    repeats: allow
    exploration: {{{{share: 0.2, every: 2, first: 1}}}}
"""
"""The shop's own placements: rules of different times, and one where new items come often."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Service]:
    workspace = tmp_path_factory.mktemp("rules")
    root = workspace / "published"
    new = np.array([id.startswith("coffee") for id in bundle.items.ids()])
    first_seen = np.where(new, np.nan, -np.inf)
    save_bundle(replace(bundle, first_seen=first_seen), bundle_directory(root, "v1"))
    write_publication(root, Publication(variants=[Variant(name="champion", model_version="v1")]))
    (workspace / "placements.yaml").write_text(PLACEMENTS.format(pinned="tea-10"))
    config = patient_config(workspace, placements=str(workspace / "placements.yaml"))
    with Service.start(workspace, workers=2, config=config) as service:
        put(service, *CATALOG)
        service.wait_until(lambda: all("coffee-11" not in ids(service, k=100) for _ in range(8)))
        yield service


def put(service: Service, *items: dict[str, Any]) -> None:
    with service.client() as client:
        assert client.put_items(items).rejected == 0


def ask(service: Service, *, page: dict[str, Any] | None = None, **placement: Any) -> Any:
    """The answer to one place of a page, over a connection of its own."""
    body = {"placements": [{"placement": "for_you", "k": 5, **placement}], **(page or {})}
    answer = service.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(service: Service, **placement: Any) -> list[str]:
    return [item["item_id"] for item in ask(service, **placement)["placements"][0]["items"]]


def items(service: Service, **placement: Any) -> list[dict[str, Any]]:
    page = {"fields": ["price", "brand", "category", "kind", "attributes"]}
    items_shown: list[dict[str, Any]] = ask(service, page=page, **placement)["placements"][0][
        "items"
    ]
    return items_shown


def test_a_filter_holds_for_every_item(service: Service) -> None:
    wanted = {
        "category": "Drinks > Tea",
        "brand": {"not_in": ["Harbour"]},
        "price": {"min": 4, "max": 9},
        "attributes": {"organic": True, "grams": {"max": 800}},
    }
    items_shown = items(service, k=20, filter=wanted)
    assert {item["item_id"] for item in items_shown} == {"tea-04", "tea-06", "tea-08"}
    either = {"any": [{"category": "Drinks > Tea > Strong"}, {"brand": "Harbour"}]}
    for item in items(service, k=20, filter=either):
        assert item["brand"] == "Harbour" or item["category"] == ["Drinks", "Tea", "Strong"]
    assert ids(service, k=20, filter={"attributes": {"tags": "t4"}, "price": 4}) == [
        *ids(service, k=20, filter={"item_id": {"in": ["coffee-04", "tea-04"]}})
    ]


def test_excluded_items_and_whatever_fulfils_an_exclusion_are_gone(service: Service) -> None:
    everything = ids(service, k=100)
    assert set(everything) - set(ids(service, k=100, exclude=everything[:2])) == {*everything[:2]}
    left = items(service, k=100, exclude={"category": "Drinks > Coffee"})
    assert left
    assert all(item["category"][1:2] != ["Coffee"] for item in left)


def test_a_boost_lifts_and_a_factor_below_one_buries(service: Service) -> None:
    plain = ids(service, k=20)
    last, first = plain[-1], next(id for id in plain if id != "star")
    lifted = ids(service, k=20, boost=[{"where": {"item_id": last}, "factor": 1000}])
    assert lifted.index(last) < plain.index(last)
    assert first in ids(service, k=5)
    assert first not in ids(service, k=5, boost=[{"where": {"item_id": first}, "factor": 0.001}])


def test_boosts_hold_in_a_list_that_is_sent_and_no_item_is_lost(service: Service) -> None:
    sent = ["coffee-04", "tea-05", "nobody-knows-it", "coffee-06", "tea-07"]

    def order(**options: Any) -> list[str]:
        body = {"items": [{"item_id": id} for id in sent], **options}
        answer = service.post("/v1/rerank", json=body)
        assert answer.status_code == 200, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    tea = {"category": "Drinks > Tea"}
    assert order()[0] == "coffee-04"
    assert set(order(boost=[{"where": tea, "factor": 100}])[:2]) == {"tea-05", "tea-07"}
    buried = order(boost=[{"where": tea, "factor": 0.001}])
    assert set(buried[-2:]) == {"tea-05", "tea-07"}
    assert sorted(buried) == sorted(sent)


def test_a_pin_puts_an_item_where_it_is_told(service: Service) -> None:
    pinned = items(service, k=4, pin=[{"item_id": "tea-07", "position": 2}])
    assert pinned[2]["item_id"] == "tea-07"
    assert pinned[2]["source"] == "pinned"
    assert len({item["item_id"] for item in pinned}) == 4
    barred = ids(
        service,
        pin=[{"item_id": "tea-07", "position": 2}],
        filter={"category": "Drinks > Coffee"},
    )
    assert "tea-07" not in barred


def test_a_quota_holds(service: Service) -> None:
    strong = {"category": {"in": ["Drinks > Tea > Strong"]}}
    few = items(service, k=6, quota=[{"where": strong, "at_least": 3}])
    assert sum(item["category"][1:] == ["Tea", "Strong"] for item in few) >= 3
    none = items(service, k=6, quota=[{"where": {"category": "Drinks > Tea"}, "at_most": 1}])
    assert sum(item["category"][1:2] == ["Tea"] for item in none) <= 1
    assert len(few) == len(none) == 6


def test_the_minimum_of_a_quota_holds_in_lists_that_explore(service: Service) -> None:
    """Coffee is new and drawn into the lists, in place of their last items."""
    seeds = ["tea-08", "tea-09", "tea-10"]
    quota = {"where": {"item_id": {"in": seeds}}, "at_least": 3}
    pin = {"item_id": "star", "position": 0}
    for _ in range(60):
        shown = ids(service, placement="exploring", k=10, quota=[quota], pin=[pin])
        assert set(seeds) <= set(shown)
        assert shown[0] == "star"
    unruled = [items(service, placement="exploring", k=10) for _ in range(10)]
    assert any(item["source"] == "exploration" for shown in unruled for item in shown)


def test_diversity_holds_until_the_list_would_get_short(service: Service) -> None:
    once = [{"per": "brand", "at_most": 1}]
    varied = [item["brand"] for item in items(service, k=3, diversity=once)]
    assert len(set(varied)) == 3
    coffee = {"category": "Drinks > Coffee"}
    assert len(ids(service, k=10, diversity=once, filter=coffee)) == 10


def test_a_placements_own_rules_hold_in_their_time(service: Service) -> None:
    items_shown = items(service, placement="ruled", k=20)
    assert [item["category"][1] for item in items_shown] == ["Tea"] * 10
    assert items_shown[0]["item_id"] == "tea-10"
    cheap = items(service, placement="ruled", k=20, filter={"price": {"max": 3}})
    assert sorted(item["item_id"] for item in cheap) == ["tea-01", "tea-02", "tea-03"]


def test_a_changed_rule_of_the_shop_is_in_force_without_a_restart(service: Service) -> None:
    file = service.workspace / "placements.yaml"
    file.write_text(PLACEMENTS.format(pinned="tea-03"))
    service.wait_until(lambda: {ids(service, placement="ruled")[0] for _ in range(6)} == {"tea-03"})
    file.write_text(PLACEMENTS.format(pinned="tea-10"))
    service.wait_until(lambda: {ids(service, placement="ruled")[0] for _ in range(6)} == {"tea-10"})


def test_content_is_shown_where_its_kind_is_asked_for(service: Service) -> None:
    assert {item["kind"] for item in items(service, k=100)} == {"product"}
    assert ids(service, k=100, filter={"kind": "article"}) == ["coffee-11"]
    both = items(service, k=100, filter={"kind": {"in": ["article", "banner"]}})
    assert {item["kind"] for item in both} == {"article", "banner"}


def test_of_a_products_variants_one_is_shown_on_a_page(service: Service) -> None:
    family = {"star", "coffee-12", "tea-12"}
    assert len(family & set(ids(service, k=100))) == 1
    page = {"placements": [{"placement": "for_you", "k": 8}, {"placement": "trending", "k": 100}]}
    shown = ask(service, page=page)["placements"]
    together = [item["item_id"] for entry in shown for item in entry["items"]]
    assert len(family & set(together)) == 1
    assert not family & set(ids(service, placement="similar", items=["tea-12"], k=100))


def test_a_price_is_filtered_by_as_it_is_now(service: Service) -> None:
    def cheap() -> set[str]:
        items_shown = [ids(service, k=50, filter={"price": {"max": 1.5}}) for _ in range(6)]
        return set.union(*map(set, items_shown))

    assert "tea-09" not in cheap()
    (before,) = [item for item in CATALOG if item["item_id"] == "tea-09"]
    put(service, {**before, "price": 1.2})
    service.wait_until(lambda: "tea-09" in cheap())
    put(service, before)
    service.wait_until(lambda: "tea-09" not in cheap())


@pytest.mark.parametrize("change", [{"stock": 0}, {"withdrawn": True}])
def test_what_cannot_be_sold_is_gone_soon(service: Service, change: dict[str, Any]) -> None:
    def shown() -> list[bool]:
        return ["tea-05" in ids(service, k=100) for _ in range(6)]

    (before,) = [item for item in CATALOG if item["item_id"] == "tea-05"]
    assert all(shown())
    put(service, {**before, **change})
    service.wait_until(lambda: not any(shown()))
    assert ids(service, pin=[{"item_id": "tea-05", "position": 0}])[0] != "tea-05"
    put(service, before)
    service.wait_until(lambda: all(shown()))


def test_a_list_is_filled_from_whatever_passes_the_filter_and_says_how(service: Service) -> None:
    (list_,) = ask(service, k=3, filter={"item_id": "tea-07"})["placements"]
    assert [item["item_id"] for item in list_["items"]] == ["tea-07"]
    assert list_["level"] is not None
    assert list_["fallback"] in ("popularity_by_country", "popularity", "catalog")
    (nothing,) = ask(service, filter={"brand": "nobody's"})["placements"]
    assert nothing["items"] == []
    assert nothing["level"] is None


def test_diagnostics_say_what_each_rule_did(service: Service) -> None:
    (list_,) = ask(
        service,
        page={"diagnostics": True},
        placement="trending",
        k=4,
        exclude={"brand": "Harbour"},
        filter={"price": {"max": 8}},
        boost=[{"where": {"brand": "tea-brand"}, "factor": 2}],
        diversity=[{"per": "brand", "at_most": 2}],
        pin=[{"item_id": "tea-04", "position": 0}],
    )["placements"]
    diagnostics = list_["diagnostics"]
    assert diagnostics["candidates"]["trending"] == 25
    effects = {effect["rule"]: effect for effect in diagnostics["rules"]}
    assert effects["kind"]["removed"] == 2
    assert effects["request.filter"]["removed"] == 4
    assert effects["request.exclude"]["removed"] == 6
    assert effects["request.boost[0]"]["moved"] == 5
    assert effects["pin"]["moved"] == 1
    assert "diagnostics" not in ask(service)["placements"][0]


def test_another_selection_repeats_nothing_in_any_worker(service: Service) -> None:
    seen: list[str] = []
    earlier: list[str] = []
    for _ in range(5):
        page = {"continue_from": earlier}
        answer = ask(service, page=page, k=5)
        assert answer.get("continues", []) == earlier
        seen += [item["item_id"] for item in answer["placements"][0]["items"]]
        earlier.append(answer["recommendation_id"])
    sold = {item["item_id"] for item in CATALOG if item.get("kind", "product") == "product"}
    assert len(seen) == len(set(seen))
    # One of the three variants of `star` was shown; the others are not another selection.
    assert len(set(seen) & (sold | {"star"})) == len(seen) == 21


def test_an_answer_that_is_not_known_does_not_stop_another(service: Service) -> None:
    for stray in ("r-1", "r-" + "0" * 35):
        answer = ask(service, page={"continue_from": [stray]})
        assert answer["continues"] == []
        assert len(answer["placements"][0]["items"]) == 5


@pytest.mark.parametrize(
    ("placement", "field"),
    [
        ({"filter": {"colour": "red"}}, "placements[0].filter.colour"),
        ({"filter": {"price": {"min": 3, "max": 2}}}, "placements[0].filter.price"),
        ({"filter": {"category": ["Drinks"]}}, "placements[0].filter.category"),
        ({"boost": [{"where": {}, "factor": -1}]}, "placements[0].boost[0].factor"),
        ({"diversity": [{"per": "title", "at_most": 1}]}, "placements[0].diversity[0].per"),
        ({"quota": [{"where": {}}]}, "placements[0].quota[0]"),
        ({"exclude": {}}, "placements[0]"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_by_name(
    service: Service, placement: dict[str, Any], field: str
) -> None:
    body = {"placements": [{"placement": "for_you", **placement}]}
    answer = service.post("/v1/recommendations", json=body)
    assert answer.status_code == 422
    problem = msgspec.json.decode(answer.content)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["remedy"]
