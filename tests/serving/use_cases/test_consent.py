"""Without consent nothing tied to a person is read, stored or used; a withdrawal counts at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recsys.errors import StoreUnavailable
from recsys.events.log import EventLog
from recsys.events.schema import Consent, Person
from recsys.ids import Vocabulary
from recsys.query.facts import NO_FACTS
from recsys.query.preferences import Interests, Preferences
from recsys.query.profile import Profile
from recsys.store.sqlite import SQLiteStore
from serving.api.schemas import RequestConsent, User
from serving.use_cases.consent import (
    NOBODY,
    PermittedPerson,
    is_permitted,
    may_personalise,
    permitted_person,
)
from serving.use_cases.person_facts import facts_of

YES = {"personalization": True}
NO = {"personalization": False}
ANALYTICS_ALONE = {"analytics": True}
AGREES, REFUSES = RequestConsent(personalization=True), RequestConsent(personalization=False)
CUSTOMER = {"user_id": "u"}
VISITOR = {"anonymous_id": "a"}
BOTH = {**CUSTOMER, **VISITOR}
MEMBER = {**CUSTOMER, "account_id": "acme"}
SUBJECTS = [
    pytest.param(CUSTOMER, id="customer"),
    pytest.param(VISITOR, id="visitor"),
    pytest.param(BOTH, id="both"),
    pytest.param(MEMBER, id="account"),
]


def permitted(ask: Any, who: dict[str, str], consent: RequestConsent | None) -> PermittedPerson:
    return permitted_person(ask.store, User(**who), consent, history_limit=500)


def kinds(ids: list[str]) -> set[str]:
    return {id.partition("-")[0] for id in ids} - {"star"}


@pytest.mark.parametrize(
    ("requested", "on_record", "permitted"),
    [
        (None, None, False),
        (AGREES, None, True),
        (REFUSES, None, False),
        (None, Consent(personalization=True), True),
        (REFUSES, Consent(personalization=True), False),
        (None, Consent(personalization=False), False),
        (AGREES, Consent(personalization=False), False),
        (None, Consent(personalization=False, analytics=True), False),
        (AGREES, Consent(personalization=False, analytics=True), False),
    ],
)
def test_the_request_consents_or_the_record_does_and_none_refuses(
    requested: RequestConsent | None, on_record: Consent | None, permitted: bool
) -> None:
    assert may_personalise(requested, on_record) is permitted


@pytest.mark.parametrize("who", SUBJECTS)
def test_nothing_is_read_for_a_request_that_refuses(
    ask: Any, store: SQLiteStore, who: dict[str, str]
) -> None:
    ask.happened("view_item", "tea-05", **who)
    store.close()
    with pytest.raises(StoreUnavailable):
        store.person(Person("u", "a"))
    assert permitted(ask, who, REFUSES) == PermittedPerson()
    assert not is_permitted(ask.store, Person("u", "a"), REFUSES)
    assert permitted(ask, who, AGREES) == PermittedPerson(degraded=True)


@pytest.mark.parametrize("who", SUBJECTS)
@pytest.mark.parametrize("stated", [NO, ANALYTICS_ALONE], ids=["refusal", "analytics alone"])
def test_a_refusal_on_record_permits_nothing_whatever_the_request_says(
    ask: Any, who: dict[str, str], stated: dict[str, bool]
) -> None:
    ask.happened("purchase", "tea-05", minutes_ago=9, user_id="colleague", account_id="acme")
    ask.happened("view_item", "tea-05", minutes_ago=8, **who)
    ask.happened("view_item", "tea-06", minutes_ago=7, consent=stated, **who)
    for consent in (None, AGREES, REFUSES):
        person = permitted(ask, who, consent)
        assert person.known == NOBODY
        assert (person.key, person.assigned, person.account_id) == (None, None, None)
        items = Vocabulary(["tea-05", "tea-06"])
        assert facts_of(person, items, now=ask.now, session_id="s") is NO_FACTS
        ids = Person(who.get("user_id"), who.get("anonymous_id"))
        assert not is_permitted(ask.store, ids, consent)


@pytest.mark.parametrize("who", SUBJECTS)
def test_without_consent_the_answer_is_that_of_a_stranger(ask: Any, who: dict[str, str]) -> None:
    ask.happened("purchase", "tea-05", minutes_ago=9, user_id="colleague", account_id="acme")
    ask.happened("purchase", "tea-07", "tea-08", minutes_ago=8, **who)
    ask.happened("feedback", "star", action="never_again", minutes_ago=7, **who)
    stranger = ask.first(explain=True)
    user = {**who, "session_id": "s"}
    assert ask.first(user=user, explain=True) != stranger
    assert ask.first(user=user, explain=True, consent=NO) == stranger


@pytest.mark.parametrize("who", SUBJECTS)
def test_without_consent_no_person_is_logged(ask: Any, who: dict[str, str]) -> None:
    ask.happened("view_item", "tea-05", **who)
    context = {"country": "NL", "device": "mobile", "search_term": "tea"}
    listed = [{"item_id": id} for id in ("tea-05", "coffee-03")]
    for consent, known in ((YES, True), (NO, False)):
        _, recommended = ask.recommend(user=who, consent=consent, context=context)
        _, reranked = ask.rerank(user=who, consent=consent, context=context, items=listed)
        for logged in (*recommended, *reranked):
            assert (logged.person is not None) is known
            assert bool(logged.context) is known
            assert "tea" not in logged.context.values()


@pytest.mark.parametrize("who", SUBJECTS)
@pytest.mark.parametrize(
    "consent", [None, NO, ANALYTICS_ALONE], ids=["silent", "refusal", "analytics alone"]
)
def test_an_event_without_consent_is_stored_of_nobody(
    ask: Any, tmp_path: Path, who: dict[str, str], consent: dict[str, bool] | None
) -> None:
    ask.happened("search", search_term="tea", session_id="s", consent=consent, **who)
    ask.happened("purchase", "tea-05", transaction_id="o", consent=consent, **who)
    known = ask.store.person(Person("u", "a"), account_id="acme")
    assert (list(known.history), list(known.account)) == ([], [])
    log = EventLog(tmp_path / "log")
    ask.store.archive(log)
    columns = "user_id, anonymous_id, session_id, account_id, search_term, transaction_id"
    stored = duckdb.sql(
        f"SELECT {columns} FROM read_parquet({[str(path) for path in log.files()]!r})"
    ).fetchall()
    assert stored == [(None,) * 6] * 2


@pytest.mark.parametrize("who", SUBJECTS)
def test_nothing_is_declared_about_somebody_who_refuses(ask: Any, who: dict[str, str]) -> None:
    ask.happened("view_item", "tea-05", **who)
    ask.happened("view_item", "tea-05", consent=NO, minutes_ago=5, **who)
    ids = {name: id for name, id in who.items() if name != "account_id"}
    if who is BOTH:
        ids = CUSTOMER
    ask.store.put_profiles([Profile(**ids, country="NL")], received_at=ask.now)
    wishes = Preferences(**ids, interests=Interests(brands=["tea-brand"]))
    assert ask.store.put_preferences([wishes], received_at=ask.now) == [False]
    assert ask.store.profiles() == {}
    assert ask.store.all_preferences() == {}


def withdraw_by_event(ask: Any, who: dict[str, str]) -> None:
    ask.happened("view_item", "coffee-03", consent=NO, minutes_ago=1, **who)


def withdraw_by_profile(ask: Any, who: dict[str, str]) -> None:
    refusal = Profile(**who, consent=Consent(personalization=False))
    ask.store.put_profiles([refusal], received_at=ask.now)


def withdraw_by_preferences(ask: Any, who: dict[str, str]) -> None:
    ask.store.put_preferences([Preferences(**who, personalization=False)], received_at=ask.now)


@pytest.mark.parametrize("who", [CUSTOMER, VISITOR], ids=["customer", "visitor"])
@pytest.mark.parametrize(
    "withdraw", [withdraw_by_event, withdraw_by_profile, withdraw_by_preferences]
)
def test_a_withdrawal_takes_effect_at_the_next_request(
    ask: Any, who: dict[str, str], withdraw: Callable[[Any, dict[str, str]], None]
) -> None:
    ask.happened("view_item", "tea-05", **who)
    assert kinds(ask.ids(user=who, consent=YES)) == {"tea"}
    withdraw(ask, who)
    for consent in (None, YES, NO):
        answer, (logged,) = ask.recommend(user=who, consent=consent)
        assert answer.placements[0].level == "everybody"
        assert logged.person is None


@pytest.mark.parametrize("who", [CUSTOMER, VISITOR], ids=["customer", "visitor"])
def test_a_later_consent_counts_at_the_next_request_too(ask: Any, who: dict[str, str]) -> None:
    ask.happened("view_item", "tea-05", **who)
    ask.happened("view_item", "tea-06", consent=NO, minutes_ago=5, **who)
    assert ask.first(user=who).level == "everybody"
    ask.happened("view_item", "tea-07", minutes_ago=1, **who)
    assert kinds(ask.ids(user=who)) == {"tea"}


def test_a_member_who_refuses_is_in_nobodys_account(ask: Any) -> None:
    ask.happened("view_item", "tea-05", **MEMBER)
    colleague = {"user_id": "colleague", "account_id": "acme"}
    ask.happened("purchase", "coffee-05", minutes_ago=9, **colleague)
    assert [event.item_id for event in permitted(ask, MEMBER, None).known.account] == ["coffee-05"]
    ask.happened("view_item", "coffee-06", minutes_ago=5, consent=NO, **colleague)
    assert list(permitted(ask, MEMBER, None).known.account) == []


def test_a_visitor_who_refuses_cannot_be_known_as_the_customer(ask: Any) -> None:
    ask.happened("view_item", "tea-05", **CUSTOMER)
    ask.store.put_preferences([Preferences(**VISITOR, personalization=False)], received_at=ask.now)
    assert permitted(ask, CUSTOMER, None).key == "u:u"
    assert permitted(ask, BOTH, AGREES) == PermittedPerson()
