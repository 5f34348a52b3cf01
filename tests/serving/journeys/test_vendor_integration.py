"""What a shop connects in an afternoon, over HTTP against a service of two workers: bodies of GA4,
Segment and search engines as they are, live stock, both clients, and a whole shop."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from running_service import Service

from recsys.bundle.bundle import Bundle
from serving.client import AsyncClient, Client, InvalidRequest, Patience

README = (Path(__file__).resolve().parents[3] / "serving/README.md").read_text(encoding="utf-8")
GRANTED = {"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"}
AGREED = {"consent": {"categoryPreferences": {"Personalization": True}}}


@pytest.fixture
def service(shared_service: Service) -> Service:
    return shared_service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client() as client:
        yield client


def list_for(service: Service, **user: str) -> list[str]:
    """The personal list over a connection of its own, so that any worker may answer."""
    with service.client() as client:
        page = client.recommend(user, [{"placement": "for_you", "k": 5}])
    return [item.item_id for item in page.placements[0].items]


def coffees(ids: list[str]) -> int:
    return sum(id.startswith("coffee") for id in ids)


def ga4_body(client_id: str, *names: str, item: str, **body: Any) -> dict[str, Any]:
    params = {"currency": "EUR", "items": [{"item_id": item, "item_name": "x", "price": 3}]}
    events = [{"name": name, "params": params} for name in names]
    return {"client_id": client_id, "consent": GRANTED, "events": events, **body}


def test_a_ga4_body_changes_the_next_answer(service: Service, client: Client) -> None:
    before = list_for(service, anonymous_id="g.1")
    body = ga4_body("g.1", "view_item", "add_to_cart", "session_start", item="coffee-05")
    stored = client.send_ga4_events(body)
    assert (stored.accepted, stored.ignored, stored.rejected) == (2, 1, 0)
    after = list_for(service, anonymous_id="g.1")
    assert after != before
    assert coffees(after) > coffees(before)
    login = {
        "client_id": "g.1",
        "user_id": "g-1",
        "consent": GRANTED,
        "events": [{"name": "login"}],
    }
    assert client.send_ga4_events(login).accepted == 1
    assert list_for(service, user_id="g-1") == after


def test_a_list_that_is_named_by_its_answer_is_credited_to_it(client: Client) -> None:
    page = client.recommend({"anonymous_id": "g.3"}, [{"placement": "for_you"}])
    chosen = page.placements[0].items[0].item_id
    params = {"item_list_id": page.recommendation_id, "items": [{"item_id": chosen}]}
    event = {"name": "select_item", "params": params}
    assert client.send_ga4_events({"client_id": "g.3", "consent": GRANTED, "events": [event]})
    held = [str(record) for record in client.export_person({"anonymous_id": "g.3"})]
    assert any("select_item" in record and page.recommendation_id in record for record in held)


def test_a_ga4_body_sent_twice_counts_once_and_one_bad_event_harms_no_other(
    client: Client,
) -> None:
    body = ga4_body("g.2", "view_item", item="tea-05", timestamp_micros=int(time.time() * 1e6))
    assert client.send_ga4_events(body).accepted == 1
    assert client.send_ga4_events(body).duplicates == 1
    bad = {"name": "view_item", "params": {"items": [{"item_id": "tea-05", "price": "cheap"}]}}
    stored = client.send_ga4_events({**body, "events": [bad, *body["events"]]})
    assert [result.status for result in stored.results] == ["rejected", "accepted"]
    assert stored.results[0].field == "params.items[0].price"


@pytest.mark.parametrize("consent", [{}, {"consent": {"ad_user_data": "GRANTED"}}])
def test_a_ga4_body_without_consent_to_personalisation_is_nobodys(
    service: Service, client: Client, consent: dict[str, Any]
) -> None:
    body = {**ga4_body("g-silent-5c1", "view_item", item="tea-05"), **consent}
    if not consent:
        del body["consent"]
    assert client.send_ga4_events(body).accepted == 1
    for file in service.workspace.glob("store.sqlite*"):
        assert b"g-silent-5c1" not in file.read_bytes()


def test_a_segment_batch_changes_the_next_answer(service: Service, client: Client) -> None:
    before = list_for(service, anonymous_id="s-1")
    viewed = {
        "type": "track",
        "event": "Product Added",
        "anonymousId": "s-1",
        "properties": {"product_id": "tea-05", "price": "3.10"},
        "context": AGREED,
    }
    batch = [{**viewed, "messageId": f"m-{n}"} for n in range(2)]
    stored = client.send_segment_events({"batch": [*batch, {"type": "group"}, 5]})
    assert [result.status for result in stored.results] == [
        "accepted",
        "accepted",
        "ignored",
        "rejected",
    ]
    assert client.send_segment_events(batch[0]).duplicates == 1
    after = list_for(service, anonymous_id="s-1")
    assert after != before
    sloppy = {**viewed, "messageId": "m-3", "properties": {"product_id": "tea-05", "price": ""}}
    assert client.send_segment_events(sloppy).accepted == 1
    with pytest.raises(InvalidRequest):
        client.send_segment_events({**sloppy, "properties": {"product_id": ["tea-05"]}})
    joined = {**viewed, "type": "identify", "userId": "s-u", "messageId": "m-9"}
    assert client.send_segment_events(joined).accepted == 1
    assert list_for(service, user_id="s-u") == after


def test_live_stock_and_price_are_in_force_in_every_worker_within_a_second(
    service: Service, client: Client
) -> None:
    def shown() -> list[dict[str, Any]]:
        body = {"placements": [{"placement": "trending", "k": 30}], "fields": ["title", "price"]}
        answer = service.post("/v1/recommendations", json=body).json()
        items: list[dict[str, Any]] = answer["placements"][0]["items"]
        return items

    put = client.put_stock(
        [
            {"item_id": "coffee-01", "stock": 0},
            {"item_id": "tea-01", "price": 1.25, "list_price": 2},
            {"item_id": "unheard-of", "stock": 3},
            {"item_id": "tea-02", "stock": -1},
        ]
    )
    assert [result.status for result in put.results] == [
        "accepted",
        "accepted",
        "rejected",
        "rejected",
    ]
    assert (put.results[2].field, put.results[3].field) == ("item_id", "stock")

    def in_force() -> bool:
        return all(
            "coffee-01" not in {item["item_id"] for item in matched}
            and {item["item_id"]: item["price"] for item in matched}["tea-01"] == 1.25
            for matched in (shown() for _ in range(12))
        )

    service.wait_until(in_force)
    assert {item["title"] for item in shown() if item["item_id"] == "tea-01"} == {"Tea thing 1"}
    client.put_stock([{"item_id": "coffee-01", "stock": None}])
    service.wait_until(lambda: any(item["item_id"] == "coffee-01" for item in shown()))


def searched(*ids: str) -> dict[str, Any]:
    return {
        "took": 4,
        "hits": {
            "total": {"value": len(ids), "relation": "eq"},
            "hits": [
                {"_index": "p", "_id": str(n), "_score": 9.0 - n, "_source": {"sku": id}}
                for n, id in enumerate(ids)
            ],
        },
        "aggregations": {"brands": {"buckets": [{"key": "x", "doc_count": 2}]}},
    }


def test_a_search_engines_answer_comes_back_in_the_persons_order(
    service: Service, client: Client
) -> None:
    client.send_ga4_events(ga4_body("e.1", "add_to_cart", "purchase", item="coffee-01"))
    response = searched("tea-07", "tea-08", "coffee-02", "coffee-03")
    asked = {"user": {"anonymous_id": "e.1"}, "query": "thing", "id_field": "sku"}
    path = "/v1/rerank/elasticsearch"
    answer = service.post(path, json={**asked, "response": response}).json()
    ordered = answer.pop("_recsys")
    hits = answer["hits"].pop("hits")
    assert [hit["_source"]["sku"] for hit in hits] == [item["item_id"] for item in ordered["items"]]
    assert hits[0]["_source"]["sku"].startswith("coffee")
    assert sorted(hits, key=lambda hit: hit["_id"]) == response["hits"].pop("hits")
    assert answer == response
    again = client.rerank_hits(
        asked["user"], searched("tea-07", "tea-08", "coffee-02", "coffee-03"), id_field="sku"
    )
    assert again["hits"]["hits"] == hits
    assert again["_recsys"]["recommendation_id"] != ordered["recommendation_id"]
    empty = service.post(path, json={"response": searched()}).json()
    assert (empty["hits"]["hits"], empty["_recsys"]) == ([], None)
    refused = service.post(path, json={"response": searched("a")["hits"]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (
        422,
        "response.hits.hits",
    )
    long = searched("x" * 200)
    assert service.post(path, json={"response": long, "id_field": "sku"}).status_code == 422


def test_the_async_client_asks_at_once_what_a_page_needs(service: Service) -> None:
    async def talk() -> None:
        patience = Patience(seconds=60)
        async with AsyncClient(service.url, timeout_seconds=60, patience=patience) as client:
            assert await client.ready()
            pages = await asyncio.gather(
                *(client.recommend({}, [{"placement": "for_you", "k": 3}]) for _ in range(8))
            )
            assert len({page.recommendation_id for page in pages}) == 8
            ranked = await client.rerank({}, [{"item_id": "tea-01"}, {"item_id": "tea-02"}])
            assert len(ranked.items) == 2
            assert (await client.experiments()).experiment is None
            assert (await client.kpi()).placements is not None
            with pytest.raises(InvalidRequest):
                await client.recommend({}, [{"placement": "nowhere"}])
            assert (await client.put_profiles([{"user_id": "p"}])).accepted == 1

    asyncio.run(talk())


def test_the_clients_reach_what_a_person_says_and_may_ask_for(
    service: Service, client: Client
) -> None:
    user = {"user_id": "say-1"}
    agreed = {"personalization": True}
    client.put_profiles([{**user, "country": "NL", "consent": agreed}])
    errors = client.send_feedback(user, "not_interested", item_id="tea-03", consent=agreed)
    assert (errors.status, errors.in_force) == ("accepted", True)
    wanted = client.put_preferences(user, interests={"brands": ["coffee-brand"]})
    assert wanted.interests.brands == ["coffee-brand"]
    assert client.read_preferences(user) == msgspec.structs.replace(wanted, in_force=msgspec.UNSET)
    held = list(client.export_person(user))
    assert any("tea-03" in str(record) for record in held)
    assert client.erase_person(user).receipt

    async def talk() -> None:
        async with AsyncClient(service.url, timeout_seconds=60) as other:
            assert (await other.read_preferences(user)).interests.brands == []
            left = [record async for record in other.export_person(user)]
            assert "tea-03" not in str(left)
            errors = await other.send_feedback({"anonymous_id": "x"}, "like", item_id="tea-01")
            assert not errors.in_force
            assert (await other.put_preferences(user, consent=agreed)).personalization
            assert (await other.erase_person(user)).receipt

    asyncio.run(talk())


SHOP = re.search(r'```python\n("""A shop.*?)```', README, re.DOTALL)


@pytest.fixture
def browse(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], httpx.Client]]:
    """`browse(url)`: somebody's browser on the README's shop over the service at that address."""
    assert SHOP is not None
    code = SHOP[1]
    file = tmp_path / "items.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(item) for item in bundle.catalog.items))
    monkeypatch.setattr("sys.argv", ["shop.py", str(file)])
    with ExitStack() as opened:

        def start(url: str) -> httpx.Client:
            shop: dict[str, Any] = {"__name__": "shop"}
            program = code.replace("http://127.0.0.1:3000", url)
            program = program.replace("timeout_seconds=0.5", "timeout_seconds=60")
            exec(compile(program, "shop.py", "exec"), shop)
            opened.callback(shop["SERVICE"].close)
            transport = httpx.WSGITransport(shop["shop"])
            return opened.enter_context(
                httpx.Client(transport=transport, base_url="http://shop.example")
            )

        yield start


def section(page: str, heading: str) -> list[str]:
    """The ids that a page lists below a heading."""
    matched = re.search(rf"<h2>{re.escape(heading)}</h2><ul>(.*?)</ul>", page)
    assert matched is not None, page
    return re.findall(r"/product\?q=([^\"]+)", matched[1])


def test_the_readmes_shop_is_sixty_lines() -> None:
    assert SHOP is not None
    assert sum(1 for line in SHOP[1].splitlines() if line.strip()) <= 60


def test_the_readmes_shop_shows_personal_pages(
    browse: Callable[[str], httpx.Client], service: Service
) -> None:
    browser = browse(service.url)

    def page(path: str) -> str:
        answer = browser.get(path)
        assert answer.status_code == 200
        return answer.text

    first = section(page("/"), "For you")
    assert len(first) == 6
    product = page("/product?q=coffee-05")
    assert "Coffee thing 5" in product
    assert section(product, "Similar")
    assert section(page("/cart?q=coffee-01"), "Add this")
    assert section(page("/cart"), "Cart") == ["coffee-01"]
    later = section(page("/"), "For you")
    assert coffees(later) > coffees(first)
    matched = section(page("/search?q=thing"), "Found: thing")
    assert len(matched) == 24
    assert coffees(matched[:12]) > 6
    assert "Nothing found" in page("/search?q=%3Cscript%3E")


def test_the_readmes_shop_stands_while_the_service_is_away(
    browse: Callable[[str], httpx.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    browser = browse(nobody)
    assert len(section(browser.get("/").text, "For you")) == 6
    assert len(section(browser.get("/search?q=tea").text, "Found: tea")) == 12
    assert "no answer, attempts: 3" in capsys.readouterr().out
