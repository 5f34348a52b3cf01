"""What every store promises about preferences, objection, the shop's own events and accounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from recsys.events.schema import Consent, Event, Person
from recsys.query.facts import CUSTOM_LIMIT
from recsys.query.preferences import NO_PREFERENCES, Exclusions, Interests, Preferences
from recsys.query.profile import Profile
from recsys.store.protocol import KnownPerson, Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)
NO = Consent(personalization=False, analytics=False)
TEA = Interests(brands=["tea"])
Make = Callable[..., Event]


def put(store: Store, *events: Event) -> list[bool]:
    return store.append(events, received_at=NOON)


def prefer(store: Store, minute: float = 0, **fields: object) -> bool:
    at = NOON + timedelta(minutes=minute)
    return store.put_preferences([Preferences(**fields)], received_at=at)[0]


def test_preferences_replace_what_they_name(store: Store) -> None:
    assert prefer(store, user_id="u", consent=YES, interests=TEA, order="segment")
    assert prefer(store, user_id="u", exclusions=Exclusions(items=["a"]))
    known = store.person(Person("u")).preferences
    assert known == Preferences(interests=TEA, order="segment", exclusions=Exclusions(items=["a"]))
    assert prefer(store, user_id="u", interests=Interests(), order="own")
    assert store.preferences(Person("u")).interests == Interests()


@pytest.mark.parametrize("consent", [None, NO])
def test_wishes_without_consent_are_not_kept(store: Store, consent: Consent | None) -> None:
    assert not prefer(store, user_id="u", interests=TEA, consent=consent)
    assert store.preferences(Person("u")) == NO_PREFERENCES


def test_an_objection_outweighs_every_later_consent(store: Store, event: Make) -> None:
    put(store, event(items=["a"], user_id="u"))
    assert prefer(store, user_id="u", personalization=False)
    put(store, event(minute=60, items=["b"], user_id="u"))
    store.put_profiles(
        [Profile(user_id="u", consent=YES)], received_at=NOON + timedelta(minutes=70)
    )
    known = store.person(Person("u"))
    assert known.history == ()
    assert known.consent is not None
    assert not known.consent.personalization
    assert store.denied() == {"u:u"}
    assert store.profiles() == {}
    assert not prefer(store, user_id="u", interests=TEA)
    assert store.preferences(Person("u")).personalization is False


def test_an_objection_is_lifted_by_the_person_alone(store: Store, event: Make) -> None:
    put(store, event(items=["a"], user_id="u"))
    prefer(store, user_id="u", personalization=False)
    assert prefer(store, minute=5, user_id="u", personalization=True, interests=TEA)
    assert [row.item_id for row in store.person(Person("u")).history] == ["a"]
    assert store.person(Person("u")).preferences.interests == TEA
    assert store.denied() == set()


def test_an_unknown_person_can_object(store: Store, event: Make) -> None:
    assert prefer(store, anonymous_id="v", personalization=False)
    put(store, event(items=["a"], anonymous_id="v"))
    assert store.person(Person(anonymous_id="v")).history == ()
    put(store, event("identify", minute=1, anonymous_id="v", user_id="u"))
    assert store.denied() == {"a:v"}


def test_interests_are_traits_of_the_profiles_that_models_learn_from(store: Store) -> None:
    store.put_profiles([Profile(user_id="u", country="NL", consent=YES)], received_at=NOON)
    prefer(store, user_id="u", interests=Interests(brands=["tea"], categories=[["Home", "Mugs"]]))
    prefer(store, user_id="w", consent=YES, interests=TEA)
    prefer(store, user_id="no", consent=YES, interests=TEA)
    prefer(store, user_id="no", personalization=False)
    both = {"interest in tea": True, "interest in Home > Mugs": True}
    assert store.profiles() == {
        "u:u": Profile(user_id="u", country="NL", traits=both),
        "u:w": Profile(user_id="w", traits={"interest in tea": True}),
    }
    assert store.person(Person("u")).profile.traits == {}


def test_a_customer_who_logs_in_keeps_what_the_visitor_wished(store: Store, event: Make) -> None:
    prefer(store, anonymous_id="v", consent=YES, interests=TEA, order="shop")
    prefer(store, user_id="u", consent=YES, order="segment")
    put(store, event("identify", minute=1, anonymous_id="v", user_id="u"))
    wished = store.person(Person("u")).preferences
    assert wished == Preferences(interests=TEA, order="segment")
    assert store.person(Person(anonymous_id="v")).preferences == wished


def test_preferences_of_everybody_are_those_of_who_has_any_and_does_not_refuse(
    store: Store,
) -> None:
    prefer(store, user_id="u", consent=YES, interests=TEA)
    prefer(store, anonymous_id="v", consent=YES, order="shop")
    prefer(store, user_id="silent", consent=YES)
    prefer(store, user_id="refusing", consent=YES, order="shop")
    prefer(store, user_id="refusing", personalization=False)
    assert store.all_preferences() == {
        "u:u": Preferences(interests=TEA),
        "a:v": Preferences(order="shop"),
    }


def test_the_shops_own_events_are_kept_by_name_in_a_lane_of_their_own(
    store: Store, event: Make
) -> None:
    put(
        store,
        event("purchase", minute=0, items=["bought"], user_id="u"),
        *(
            event("custom", minute=1 + n / 100, user_id="u", name=f"video-{n}")
            for n in range(CUSTOM_LIMIT + 5)
        ),
        event("custom", minute=30, user_id="u", name="read", items=["article"]),
    )
    history = store.person(Person("u"), limit=1).history
    assert len(history) == CUSTOM_LIMIT + 1
    assert history[0].item_id == "bought"
    assert (history[1].name, history[1].item_id) == ("video-6", "")
    assert (history[-1].name, history[-1].item_id) == ("read", "article")


def test_feedback_is_about_items_brands_and_categories(store: Store, event: Make) -> None:
    put(
        store,
        event("feedback", items=["a"], brand="b", category=["c", "d"], user_id="u",
              action="snooze", days=7.0),
    )  # fmt: skip
    rows = store.person(Person("u")).history
    assert [(row.item_id, row.brand, row.category, row.days) for row in rows] == [
        ("a", None, None, 7.0),
        ("", "b", None, 7.0),
        ("", None, "c > d", 7.0),
    ]


def bought_by(store: Store, known: KnownPerson) -> list[str]:
    return [row.item_id for row in known.account]


def test_an_accounts_history_is_what_the_other_members_did(store: Store, event: Make) -> None:
    store.put_profiles([Profile(user_id="boss", account_id="acme", consent=YES)], received_at=NOON)
    put(
        store,
        event("purchase", minute=0, items=["a"], user_id="ann", account_id="acme"),
        event("purchase", minute=1, items=["b"], user_id="boss"),
        event("view_item_list", minute=2, items=["seen"], user_id="ann", account_id="acme"),
        event("feedback", minute=2, items=["said"], action="like", user_id="ann",
              account_id="acme"),
        event("purchase", minute=3, items=["c"], user_id="bob", account_id="acme", consent=None),
        event("purchase", minute=4, items=["d"], user_id="cyd", account_id="rival"),
    )  # fmt: skip
    assert bought_by(store, store.person(Person("boss"))) == ["a"]
    assert bought_by(store, store.person(Person("ann"), account_id="acme")) == ["b"]
    assert bought_by(store, store.person(Person("new"), account_id="acme")) == ["a", "b"]
    assert bought_by(store, store.person(Person("ann"))) == []


def test_a_member_who_refuses_or_logs_in_takes_their_part_along(store: Store, event: Make) -> None:
    put(
        store,
        event("purchase", minute=0, items=["a"], user_id="ann", account_id="acme"),
        event("purchase", minute=1, items=["v"], anonymous_id="v", account_id="acme"),
        event("identify", minute=2, anonymous_id="v", user_id="bob"),
    )
    assert bought_by(store, store.person(Person("new"), account_id="acme")) == ["a", "v"]
    put(store, event(minute=3, user_id="ann", consent=NO))
    assert bought_by(store, store.person(Person("new"), account_id="acme")) == ["v"]
    prefer(store, user_id="bob", personalization=False)
    assert bought_by(store, store.person(Person("new"), account_id="acme")) == []
