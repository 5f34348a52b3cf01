"""Feedback, preferences, consent and privacy as a shop uses them: two workers, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from running_service import Service

from recsys.events.log import EventLog
from recsys.events.schema import Person
from recsys.store.sqlite import SQLiteStore

YES = {"personalization": True}
NO = {"personalization": False}
ROUNDS = 4
"""Each answer is asked so often over a new connection, so that both workers are met."""


@pytest.fixture
def shop(shared_service: Service) -> Shop:
    return Shop(shared_service)


class Shop:
    """A shop's backend: every call over a connection of its own, so that any worker answers."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sent = 0

    def call(self, method: str, path: str, body: dict[str, Any], status: int = 200) -> Any:
        answer = self.service.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def happened(self, kind: str, *items: str, **fields: Any) -> None:
        self.sent += 1
        who = "-".join(str(fields.get(name)) for name in ("user_id", "anonymous_id"))
        event = {
            "event_id": f"{who}-{kind}-{self.sent}-{'.'.join(items)}",
            "event": kind,
            "timestamp": datetime.now(UTC).isoformat(),
            "items": [{"item_id": item} for item in items],
            "consent": YES,
            **fields,
        }
        event = {name: value for name, value in event.items() if value is not None}
        answer = self.call("POST", "/v1/events", {"events": [event]})
        assert answer["accepted"] == 1, answer

    def page(self, user: dict[str, str], **fields: Any) -> dict[str, Any]:
        body = {"user": user, "placements": [{"placement": "for_you", "k": 6}], **fields}
        answer: dict[str, Any] = self.call("POST", "/v1/recommendations", body)
        return answer

    def ids(self, user: dict[str, str], **fields: Any) -> list[str]:
        """The list that every worker gives."""
        lists = [
            [item["item_id"] for item in self.page(user, **fields)["placements"][0]["items"]]
            for _ in range(ROUNDS)
        ]
        assert all(list_ == lists[0] for list_ in lists), lists
        return lists[0]

    def ranked(self, user: dict[str, str], *ids: str) -> list[str]:
        body = {"user": user, "items": [{"item_id": id} for id in ids]}
        answer = self.call("POST", "/v1/rerank", body)
        return [item["item_id"] for item in answer["items"]]

    def give_feedback(self, user: dict[str, str], action: str, **fields: Any) -> Any:
        body = {"user": user, "action": action, **fields}
        return self.call("POST", "/v1/feedback", body)

    def prefer(self, user: dict[str, str], **fields: Any) -> Any:
        return self.call("PUT", "/v1/preferences", {"user": user, **fields})


def of(kind: str, ids: list[str]) -> int:
    return sum(id.startswith(kind) for id in ids)


def test_a_refused_item_is_gone_from_the_next_answer_until_it_is_taken_back(shop: Shop) -> None:
    ann = {"user_id": "ann"}
    shop.happened("purchase", "coffee-03", **ann)
    first = shop.ids(ann)[0]
    assert shop.give_feedback(ann, "not_interested", item_id=first)["in_force"]
    assert first not in shop.ids(ann)
    shop.give_feedback(ann, "undo", item_id=first)
    assert first in shop.ids(ann)


def test_a_refused_brand_or_category_hides_all_its_items(shop: Shop) -> None:
    bea = {"user_id": "bea"}
    shop.happened("purchase", "coffee-03", "tea-04", **bea)
    shop.give_feedback(bea, "never_again", brand="coffee-brand")
    assert of("coffee", shop.ids(bea)) == 0
    assert shop.ranked(bea, "coffee-05", "tea-05", "coffee-06")[0] == "tea-05"
    shop.give_feedback(bea, "undo", brand="coffee-brand")
    shop.give_feedback(bea, "never_again", category=["Drinks", "Tea"])
    assert of("tea", shop.ids(bea)) == 0
    shop.give_feedback(bea, "undo", category=["Drinks", "Tea"])
    assert shop.ids(bea)


def test_a_snoozed_item_rests(shop: Shop) -> None:
    cas = {"user_id": "cas"}
    shop.happened("purchase", "tea-03", **cas)
    first = shop.ids(cas)[0]
    shop.give_feedback(cas, "snooze", item_id=first, days=3)
    assert first not in shop.ids(cas)


def test_a_like_raises_what_is_like_it(shop: Shop) -> None:
    dan = {"user_id": "dan"}
    shop.give_feedback(dan, "like", item_id="tea-05", consent=YES)
    assert of("tea", shop.ids(dan)) > of("coffee", shop.ids(dan))
    eva = {"user_id": "eva"}
    shop.give_feedback(eva, "like", item_id="coffee-05", consent=YES)
    assert of("coffee", shop.ids(eva)) > of("tea", shop.ids(eva))


def test_a_dislike_lowers_what_is_like_it(shop: Shop) -> None:
    quin = {"user_id": "quin"}
    shop.happened("purchase", "coffee-03", "coffee-04", "coffee-05", "tea-03", "tea-04", **quin)
    before = shop.ids(quin)
    disliked = next(id for id in before if id.startswith("coffee"))
    shop.give_feedback(quin, "not_interested", item_id=disliked)
    after = shop.ids(quin)
    assert of("coffee", after) < of("coffee", before) - 1
    assert of("tea", after) > of("tea", before)


def test_a_word_sent_twice_is_one_word(shop: Shop) -> None:
    body = {"item_id": "tea-05", "event_id": "once-only", "consent": YES}
    assert shop.give_feedback({"user_id": "fay"}, "like", **body)["status"] == "accepted"
    assert shop.give_feedback({"user_id": "fay"}, "like", **body)["status"] == "duplicate"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user": {}, "action": "like", "item_id": "a"}, "user.user_id"),
        ({"user": {"user_id": "a"}, "action": "like"}, "item_id"),
        ({"user": {"user_id": "a"}, "action": "love", "item_id": "a"}, "action"),
        ({"user": {"user_id": "a"}, "action": "snooze", "item_id": "a", "days": -1}, "days"),
        (
            {"user": {"user_id": "a"}, "action": "like", "item_id": "a",
             "timestamp": "2001-01-01T00:00:00Z"},
            "timestamp",
        ),
    ],
)  # fmt: skip
def test_a_word_that_cannot_be_meant_names_its_field(
    shop: Shop, body: dict[str, Any], field: str
) -> None:
    problem = shop.call("POST", "/v1/feedback", body, status=422)
    assert problem["errors"][0]["field"] == field


def test_feedback_without_consent_is_counted_as_nobodys(shop: Shop) -> None:
    answer = shop.give_feedback({"user_id": "gil-q8z"}, "never_again", item_id="star")
    assert answer["status"] == "accepted"
    assert not answer["in_force"]
    assert "consent" in answer["reason"]
    assert "star" in shop.ids({"user_id": "gil-q8z"})
    assert holds(shop.service.workspace, b"gil-q8z") == []


def test_exclusions_and_interests_hold_in_the_next_answer(shop: Shop) -> None:
    hal = {"user_id": "hal"}
    answer = shop.prefer(
        hal,
        consent=YES,
        exclusions={"items": ["star"], "brands": ["coffee-brand"]},
        interests={"categories": [["Drinks", "Tea"]]},
    )
    assert answer["in_force"]
    ids = shop.ids(hal)
    assert "star" not in ids
    assert of("tea", ids) == 6
    assert of("coffee", ids) == 0
    shop.prefer(hal, exclusions={})
    assert "star" in shop.ids(hal)
    read = shop.call("POST", "/v1/preferences/read", {"user": hal})
    assert read == {
        "personalization": True,
        "order": "own",
        "interests": {"categories": [["Drinks", "Tea"]]},
        "exclusions": {},
    }


def test_interests_lift_what_they_name(shop: Shop) -> None:
    ida = {"user_id": "ida"}
    shop.happened("purchase", "coffee-03", "tea-03", **ida)
    before = shop.ids(ida)
    shop.prefer(ida, interests={"brands": ["tea-brand"]})
    assert of("tea", shop.ids(ida)) > of("tea", before)


def test_preferences_without_consent_are_not_kept_and_said_so(shop: Shop) -> None:
    answer = shop.prefer({"user_id": "jan-q8z"}, exclusions={"items": ["star"]})
    assert not answer["in_force"]
    assert "consent" in answer["reason"]
    assert answer["exclusions"] == {}
    assert holds(shop.service.workspace, b"jan-q8z") == []


def test_the_order_that_is_wanted_is_given(shop: Shop) -> None:
    kim, stranger = {"user_id": "kim"}, {"anonymous_id": "never-seen"}
    shop.happened("purchase", "tea-03", **kim)
    own_list = shop.ids(kim)
    assert own_list != shop.ids(stranger)
    listed = ("coffee-05", "tea-05", "coffee-06")
    assert shop.ranked(kim, *listed)[0] == "tea-05"
    shop.prefer(kim, order="shop")
    assert shop.ids(kim) == shop.ids(stranger)
    assert shop.ranked(kim, *listed) == list(listed)
    shop.call("PUT", "/v1/profiles", {"profiles": [{**kim, "country": "NL"}]})
    shop.prefer(kim, order="segment")
    assert shop.ids(kim) == shop.ids(stranger, context={"country": "NL"})
    shop.prefer(kim, order="own")
    assert shop.ids(kim) == own_list


def test_an_objection_takes_one_call_and_outweighs_every_consent_of_a_page(shop: Shop) -> None:
    lea, stranger = {"user_id": "lea"}, {"anonymous_id": "never-seen"}
    shop.happened("purchase", "tea-03", **lea)
    own_list = shop.ids(lea)
    assert own_list != shop.ids(stranger)
    assert shop.prefer(lea, personalization=False)["personalization"] is False
    assert shop.ids(lea) == shop.ids(stranger)
    assert shop.ids(lea, consent=YES) == shop.ids(stranger)
    shop.happened("purchase", "tea-05", "tea-06", **lea)
    shop.call("PUT", "/v1/profiles", {"profiles": [{**lea, "consent": YES}]})
    assert shop.ids(lea, consent=YES) == shop.ids(stranger)
    shop.prefer(lea, personalization=True)
    # What happened in between was stored as nobody's.
    assert shop.ids(lea) == own_list


def test_somebody_unknown_can_object_too(shop: Shop) -> None:
    max_, stranger = {"user_id": "max"}, {"anonymous_id": "never-seen"}
    assert shop.prefer(max_, personalization=False)["in_force"]
    shop.happened("purchase", "tea-03", **max_)
    assert shop.ids(max_, consent=YES) == shop.ids(stranger)


def test_a_withdrawal_by_profile_holds_from_the_next_answer_on(shop: Shop) -> None:
    ned, stranger = {"user_id": "ned"}, {"anonymous_id": "never-seen"}
    shop.happened("purchase", "tea-03", **ned)
    assert shop.ids(ned) != shop.ids(stranger)
    shop.call("PUT", "/v1/profiles", {"profiles": [{**ned, "consent": NO}]})
    assert shop.ids(ned) == shop.ids(stranger)
    assert shop.ids(ned, consent=YES) == shop.ids(stranger)


def test_channels_share_one_profile_and_logging_in_joins_it(shop: Shop) -> None:
    visitor, customer = {"anonymous_id": "phone-1"}, {"user_id": "ola"}
    shop.happened("purchase", "tea-03", "tea-04", **visitor, context={"channel": "web"})
    shop.happened("purchase", "coffee-03", **customer, context={"channel": "store"})
    before = shop.ids(customer)
    shop.happened("identify", **visitor, **customer, context={"channel": "app"})
    expected = shop.ids(customer)
    assert expected != before
    for channel in ("web", "app", "mail", "chatbot"):
        assert shop.ids(customer, context={"channel": channel}) == expected
    assert shop.ids(visitor) == expected
    shop.give_feedback(customer, "never_again", brand="coffee-brand")
    assert of("coffee", shop.ids(visitor, context={"channel": "mail"})) == 0


def test_what_colleagues_did_fills_a_thin_history(shop: Shop) -> None:
    new = {"user_id": "pia"}
    for n in range(4):
        shop.happened("purchase", "tea-03", "tea-04", user_id=f"colleague-{n}", account_id="acme")
    alone = shop.ids(new, consent=YES)
    with_account = shop.ids({**new, "account_id": "acme"}, consent=YES)
    assert of("tea", with_account) > of("tea", alone)
    shop.call("PUT", "/v1/profiles", {"profiles": [{**new, "account_id": "acme", "consent": YES}]})
    assert shop.ids(new) == with_account
    page = shop.page({**new}, explain=True)
    assert "colleague" not in str(page)
    texts = [r["text"] for i in page["placements"][0]["items"] for r in i.get("reasons", [])]
    assert not any("you bought" in text for text in texts), texts


def test_a_colleague_who_refuses_is_no_longer_part_of_the_account(shop: Shop) -> None:
    shop.happened("purchase", "tea-03", "tea-04", user_id="only-one", account_id="solo")
    asks = {"user_id": "rob", "account_id": "solo"}
    assert of("tea", shop.ids(asks, consent=YES)) > of("coffee", shop.ids(asks, consent=YES))
    shop.prefer({"user_id": "only-one"}, personalization=False)
    assert shop.ids(asks, consent=YES) == shop.ids({"anonymous_id": "never-seen"})


def exported(shop: Shop, user: dict[str, str], limit: int = 2) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    cursor = None
    while True:
        body = {"user": user, "limit": limit, **({"cursor": cursor} if cursor else {})}
        page = shop.call("POST", "/v1/privacy/export", body)
        assert len(page["records"]) <= limit
        records += page["records"]
        cursor = page["next"]
        if cursor is None:
            return records


def holds(workspace: Path, id: bytes) -> list[str]:
    """The files of the workspace in which an id stands."""
    return [
        path.name
        for path in workspace.rglob("*")
        if path.is_file() and path.name != "service.log" and id in path.read_bytes()
    ]


def test_everything_about_a_person_is_shown_and_then_gone(shop: Shop) -> None:
    workspace = shop.service.workspace
    sue, visitor = {"user_id": "sue-x7k"}, {"anonymous_id": "tablet-x7k"}
    other = {"user_id": "tim-x7k"}
    shop.happened("view_item", "tea-03", **visitor, event_id="s-1")
    shop.happened("purchase", "tea-04", **sue, account_id="firm", event_id="s-2")
    shop.happened("purchase", "tea-06", **other, event_id="s-3")
    store = SQLiteStore(workspace / "store.sqlite")
    store.archive(EventLog(workspace / "event_log"))
    shop.happened("identify", **visitor, **sue, event_id="s-4")
    shop.happened("search", search_term="a private question", **sue, event_id="s-5")
    shop.give_feedback(sue, "like", item_id="tea-05", event_id="s-6")
    shop.prefer(sue, interests={"brands": ["tea-brand"]})
    own_list = shop.page(sue)
    shop.service.wait_until(lambda: exported_places(shop, sue) >= {"answers"})
    (workspace / "rejected").mkdir(exist_ok=True)
    (workspace / "rejected" / "x.jsonl").write_bytes(
        b'{"line":7,"reason":"r","raw":"sue-x7k;oops"}\n'
        b'{"line":8,"reason":"r","raw":"sue-x7kk;other"}\n'
    )

    records = exported(shop, sue)
    by_place: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_place.setdefault(record["place"], []).append(record)
    assert set(by_place) == {"person", "history", "waiting", "event_log", "answers", "rejected"}
    assert {r.get("item_id") for r in by_place["history"]} == {"tea-03", "tea-04", "tea-05"}
    assert {r["item_id"] for r in by_place["event_log"]} == {"tea-03", "tea-04"}
    assert any(r.get("search_term") == "a private question" for r in by_place["waiting"])
    assert by_place["person"][0]["preferences"] == {"interests": {"brands": ["tea-brand"]}}
    assert own_list["recommendation_id"] in {r["recommendation_id"] for r in by_place["answers"]}
    assert "tim-x7k" not in str(records)

    receipt = shop.call("POST", "/v1/privacy/erase", {"user": sue})
    removed = receipt["removed"]
    assert removed["history"] == 3
    assert removed["account"] == 1
    assert removed["profiles"] == 1
    assert removed["identities"] == 1
    assert removed["rejected_lines"] == 1
    assert removed["answers"] >= 1
    assert receipt["event_log"] == {"state": "pending", "rows": None, "done_at": None}
    assert any("nightly" in line for line in receipt["remaining"])
    assert receipt["bundles"] == [{"model_version": "v1", "holds_rows": False, "served": True}]
    files = holds(workspace, b"sue-x7k") + holds(workspace, b"tablet-x7k")
    assert {name.partition(".")[2] for name in files if name != "x.jsonl"} == {"parquet"}
    assert (workspace / "rejected" / "x.jsonl").read_bytes().count(b"\n") == 1
    assert holds(workspace, b"a private question") == []
    stranger = {"anonymous_id": "never-seen"}
    assert shop.ids(sue) == shop.ids(stranger)
    assert shop.ids(other) != shop.ids(stranger)

    again = shop.call("POST", "/v1/privacy/erase", {"user": sue})
    assert again["receipt"] == receipt["receipt"]
    assert again["removed"] == removed
    assert store.clear_log(EventLog(workspace / "event_log"), at=datetime.now(UTC)) == 2
    done = shop.call("POST", "/v1/privacy/erase", {"user": sue})
    assert done["event_log"]["state"] == "done"
    assert done["event_log"]["rows"] == 2
    assert done["remaining"] == []
    (workspace / "rejected" / "x.jsonl").unlink()
    assert exported(shop, sue) == []
    assert holds(workspace, b"sue-x7k") == holds(workspace, b"tablet-x7k") == []
    assert store.person(Person("tim-x7k")).history
    store.close()


def exported_places(shop: Shop, user: dict[str, str]) -> set[str]:
    return {record["place"] for record in exported(shop, user, limit=200)}


def test_what_happened_before_an_erasure_and_arrives_later_is_nobodys(shop: Shop) -> None:
    una, stranger = {"user_id": "una-x7k"}, {"anonymous_id": "never-seen"}
    shop.happened("purchase", "tea-03", **una, event_id="u-1")
    shop.call("POST", "/v1/privacy/erase", {"user": una})
    before = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    shop.happened("purchase", "tea-04", "tea-05", **una, timestamp=before, event_id="u-2")
    assert holds(shop.service.workspace, b"una-x7k") == []
    assert shop.ids(una, consent=YES) == shop.ids(stranger)
    shop.happened("purchase", "tea-03", **una, event_id="u-3")
    assert shop.ids(una) != shop.ids(stranger)


def test_export_and_erasure_need_a_person_and_a_cursor_of_ours(shop: Shop) -> None:
    for path in ("/v1/privacy/export", "/v1/privacy/erase", "/v1/preferences/read"):
        problem = shop.call("POST", path, {"user": {}}, status=422)
        assert problem["errors"][0]["field"] == "user.user_id"
    body = {"user": {"user_id": "a"}, "cursor": "nowhere:3.0"}
    problem = shop.call("POST", "/v1/privacy/export", body, status=422)
    assert problem["errors"][0]["field"] == "cursor"


def test_erasing_somebody_unknown_is_a_receipt_of_nothing(shop: Shop) -> None:
    receipt = shop.call("POST", "/v1/privacy/erase", {"user": {"user_id": "nobody-at-all"}})
    assert set(receipt["removed"].values()) == {0}


def test_no_id_or_word_of_a_person_is_in_the_log_or_the_metrics(shop: Shop) -> None:
    log = (shop.service.workspace / "service.log").read_text()
    metrics = shop.service.get("/metrics").text
    for word in ("x7k", "q8z", "private question", "colleague", "coffee-brand"):
        assert word not in log
        assert word not in metrics
