"""The answers of the recommender: history, sessions, consent, degradation, reranking, the log."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.errors import StoreUnavailable
from recsys.query.builder import build_query
from recsys.store.sqlite import SQLiteStore
from serving.api.problems import ProblemError
from serving.api.schemas import User
from serving.use_cases.consent import permitted_person
from serving.use_cases.person_facts import facts_of
from serving.use_cases.recommend import Recommender

YES = {"personalization": True}
NO = {"personalization": False}


def kinds(ids: list[str]) -> set[str]:
    return {id.partition("-")[0] for id in ids} - {"star"}


def test_an_event_changes_the_very_next_answer(ask: Any) -> None:
    before = ask.ids(user={"user_id": "u"})
    ask.happened("view_item", "tea-05", user_id="u")
    after = ask.ids(user={"user_id": "u"})
    assert after != before
    assert kinds(after) == {"tea"}


def test_a_visitor_is_known_by_the_anonymous_id_and_answered_from_the_session(ask: Any) -> None:
    ask.happened("view_item", "coffee-05", anonymous_id="a")
    assert ask.first(user={"anonymous_id": "a"}).level == "session"
    assert kinds(ask.ids(user={"anonymous_id": "a"})) == {"coffee"}


def test_identify_joins_what_the_visitor_did_to_the_customer(ask: Any) -> None:
    ask.happened("view_item", "coffee-05", anonymous_id="a")
    ask.happened("identify", anonymous_id="a", user_id="u", minutes_ago=5)
    answer = ask.first(user={"user_id": "u"})
    assert answer.level == "individual"
    assert kinds([item.item_id for item in answer.items]) == {"coffee"}


def test_a_stranger_is_answered_from_popularity(ask: Any) -> None:
    answer = ask.first(user={"user_id": "nobody"})
    assert answer.level == "everybody"
    assert answer.items[0].item_id == "star"


@pytest.mark.parametrize(
    ("on_record", "in_request", "personal"),
    [
        ("nothing", None, False),
        ("nothing", NO, False),
        ("yes", None, True),
        ("yes", NO, False),
        ("yes", YES, True),
        ("refused", None, False),
        ("refused", YES, False),
        ("lifted", None, True),
    ],
)
def test_consent_decides_whether_the_history_is_used(
    ask: Any, on_record: str, in_request: dict[str, bool] | None, personal: bool
) -> None:
    if on_record != "nothing":
        ask.happened("view_item", "tea-05", user_id="u", minutes_ago=60)
    if on_record in ("refused", "lifted"):
        ask.happened("view_item", "tea-06", user_id="u", minutes_ago=50, consent=NO)
    if on_record == "lifted":
        ask.happened("view_item", "tea-07", user_id="u", minutes_ago=40)
    answer, logged = ask.recommend(user={"user_id": "u"}, consent=in_request)
    ids = [item.item_id for item in answer.placements[0].items]
    assert (kinds(ids) == {"tea"}) is personal
    assert logged[0].person == ("u:u" if personal else None)


def test_without_consent_the_answer_equals_that_of_a_stranger_on_the_same_page(ask: Any) -> None:
    ask.happened("purchase", "tea-05", user_id="u", context={"country": "GB"})
    page = {"placement": "similar", "items": ["coffee-03"], "context": {"country": "NL"}}
    refused = ask.first(user={"user_id": "u", "session_id": "s"}, consent=NO, explain=True, **page)
    assert refused == ask.first(explain=True, **page)


def test_without_consent_the_log_holds_nothing_of_the_person(ask: Any) -> None:
    ask.happened("view_item", "tea-05", user_id="u")
    _, (logged,) = ask.recommend(
        user={"user_id": "u", "anonymous_id": "a", "session_id": "s"},
        consent=NO,
        context={"country": "NL", "device": "mobile", "search_term": "tea"},
    )
    assert logged.person is None
    assert logged.context == {}


def test_recently_viewed_shows_the_persons_own_items_newest_first(ask: Any) -> None:
    ask.happened("view_item", "tea-05", user_id="u", minutes_ago=9)
    ask.happened("view_item", "coffee-07", user_id="u", minutes_ago=3)
    user = {"user_id": "u"}
    assert ask.ids(user=user, placement="recently_viewed") == ["coffee-07", "tea-05"]
    assert ask.ids(user={"user_id": "stranger"}, placement="recently_viewed") == []


def test_bought_together_answers_for_the_cart(ask: Any) -> None:
    answer = ask.first(placement="bought_together", items=["coffee-01"], k=3, explain=True)
    assert answer.level == "page"
    assert answer.items[0].item_id == "coffee-02"
    assert answer.items[0].reasons[0].text == "often bought with Coffee thing 1"


def test_no_item_comes_twice_on_one_page(ask: Any) -> None:
    ask.happened("view_item", "tea-05", user_id="u")
    answer, _ = ask.recommend(
        user={"user_id": "u"},
        placements=[
            {"placement": "for_you", "k": 8},
            {"placement": "trending", "k": 8},
            {"placement": "similar", "k": 8, "items": ["tea-01"]},
        ],
    )
    ids = [item.item_id for placement in answer.placements for item in placement.items]
    assert len(ids) == 24
    assert len(set(ids)) == 24


def test_excluded_items_and_those_of_the_page_are_not_shown(ask: Any) -> None:
    ids = ask.ids(placement="similar", items=["tea-01"], exclude=["tea-02", "unknown"], k=20)
    assert not {"tea-01", "tea-02"} & set(ids)


def test_a_refused_item_is_gone_from_the_next_answer_until_it_is_taken_back(ask: Any) -> None:
    user = {"user_id": "u"}
    ask.happened("view_item", "tea-05", **user)
    first = ask.ids(user=user, placement="trending")[0]
    ask.happened("feedback", first, action="not_interested", minutes_ago=5, **user)
    assert first not in ask.ids(user=user, placement="trending", k=25)
    listed = [{"item_id": id} for id in (first, "coffee-03", "coffee-04")]
    reranked, _ = ask.rerank(user=user, items=listed)
    assert reranked.items[-1].item_id == first
    ask.happened("feedback", first, action="undo", minutes_ago=4, **user)
    assert first in ask.ids(user=user, placement="trending")


def test_reasons_name_the_history_by_the_shops_own_titles(ask: Any) -> None:
    ask.happened("purchase", "tea-05", user_id="u")
    item = ask.first(user={"user_id": "u"}, explain=True).items[0]
    assert item.reasons[0].text == "because you bought Tea thing 5"
    assert (item.reasons[0].code, item.reasons[0].item_id) == ("bought", "tea-05")
    assert item.source_text == "people with your taste chose it"


def test_fields_add_what_the_page_needs_and_nothing_else(ask: Any) -> None:
    item = ask.first(fields=["title", "price", "category"]).items[0]
    assert (item.title, item.price, item.category) == ("The Bestseller", 5.0, ["Drinks"])
    assert "brand" not in str(ask.first(fields=["title"])).replace("brand=UNSET", "")


def test_without_the_store_the_answer_is_degraded_and_not_empty(
    ask: Any, recommender: Recommender, store: SQLiteStore
) -> None:
    ask.happened("view_item", "tea-05", user_id="u")
    store.close()
    with pytest.raises(StoreUnavailable):
        store.items()
    answer, (logged,) = ask.recommend(user={"user_id": "u"}, consent=YES)
    assert answer.degraded
    assert answer.placements[0].items[0].item_id == "star"
    assert logged.person is None


def test_an_unknown_placement_is_refused_with_the_names_of_the_known_ones(ask: Any) -> None:
    with pytest.raises(ProblemError) as caught:
        ask.recommend(placements=[{"placement": "for_you"}, {"placement": "no_such"}])
    (error,) = caught.value.errors or []
    assert error.field == "placements[1].placement"
    assert error.remedy == (
        "use one of bought_together, for_you, recently_viewed, similar, trending"
    )


def test_rerank_moves_what_the_person_likes_and_keeps_every_item(ask: Any) -> None:
    sent = ["tea-05", "not-in-the-catalogue", "coffee-06"]
    body = {"user": {"user_id": "u"}, "items": [{"item_id": id} for id in sent]}
    stranger, _ = ask.rerank(**body)
    assert [item.item_id for item in stranger.items] == sent
    ask.happened("view_item", "coffee-05", user_id="u")
    personal, (logged,) = ask.rerank(**body, query="thing")
    assert [item.item_id for item in personal.items] == ["coffee-06", "tea-05", sent[1]]
    assert [item.original_position for item in personal.items] == [2, 0, 1]
    assert [item.position for item in personal.items] == [0, 1, 2]
    assert personal.items[0].source == "random_walk"
    assert (logged.placement, logged.person) == ("rerank", "u:u")


def test_rerank_refuses_an_id_that_comes_twice(ask: Any) -> None:
    with pytest.raises(ProblemError) as caught:
        ask.rerank(items=[{"item_id": "tea-01"}, {"item_id": "tea-02"}, {"item_id": "tea-01"}])
    (error,) = caught.value.errors or []
    assert (caught.value.status, error.field) == (422, "items[2].item_id")


def test_what_is_logged_is_what_was_shown(ask: Any) -> None:
    ask.happened("view_item", "tea-05", user_id="u")
    answer, (logged,) = ask.recommend(user={"user_id": "u"}, context={"country": "GB"})
    shown = answer.placements[0].items
    assert logged.recommendation_id == answer.recommendation_id
    assert list(logged.item_ids) == [item.item_id for item in shown]
    assert list(logged.scores) == [item.score for item in shown]
    assert set(logged.propensities) == {1.0}
    assert (logged.variant, logged.model_version, logged.person) == ("champion", "v1", "u:u")
    assert logged.context == {"country": "GB"}


def test_the_named_session_or_the_last_half_hour_is_the_current_visit(ask: Any) -> None:
    ask.happened("view_item", "tea-05", user_id="u", session_id="old", minutes_ago=20)
    ask.happened("view_item", "tea-06", user_id="u", session_id="new", minutes_ago=10)
    ask.happened("view_item", "tea-07", user_id="u", session_id="older", minutes_ago=90)
    bundle = ask.versions.variants[0].bundle

    def session(user: User) -> list[str]:
        permitted = permitted_person(ask.store, user, None, history_limit=500)
        facts = facts_of(permitted, bundle.items, now=ask.now, session_id=user.session_id)
        query = build_query(facts, bundle.query_settings(), now=ask.now)
        return bundle.items.ids(query.session.items)

    assert session(User(user_id="u")) == ["tea-05", "tea-06"]
    assert session(User(user_id="u", session_id="new")) == ["tea-06"]
    assert session(User(user_id="u", session_id="unheard of")) == []
