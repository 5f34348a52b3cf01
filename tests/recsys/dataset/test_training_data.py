"""`TrainingData`: what happened before the moment, and nothing of what came after."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import InsufficientData
from recsys.events.log import EventLog, rows
from recsys.events.schema import KIND_NUMBER, Event, EventContext, EventItem
from recsys.events.weighting import DEFAULT_KIND_WEIGHTS, Weighting
from recsys.query.profile import UNKNOWN, Profile

AS_OF = datetime(2026, 11, 21, tzinfo=UTC)


def make_event(kind: Any, items: str, *, days: float, **fields: Any) -> Event:
    """An event so many days before AS_OF; each letter is an item."""
    at = AS_OF - timedelta(days=days)
    return Event(
        event_id=fields.pop("event_id", f"{kind}-{items}-{days}-{sorted(fields.items())}"),
        event=kind,
        timestamp=at,
        items=[EventItem(item_id=id) for id in items],
        **fields,
    )


def read(folder: Path, events: list[Event], **options: Any) -> TrainingData:
    log = EventLog(folder)
    log.append(rows(events), part="p")
    return read_training_data(
        log, **{"as_of": AS_OF, "weighting": Weighting(half_life_days=10), **options}
    )


def weights(data: TrainingData, person: str) -> dict[str, float]:
    user = data.users.number(person)
    assert user is not None
    row = data.interactions[[user]].tocsr()
    return {data.items.id(n): float(w) for n, w in zip(row.indices, row.data, strict=True)}


def test_events_are_weighted_by_kind_and_halved_with_age(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "a", days=10, user_id="u"),
            make_event("view_item", "a", days=20, user_id="u"),
            make_event("view_item", "b", days=0.000001, user_id="u"),
        ],
    )
    assert weights(data, "u:u") == pytest.approx({"a": 5 / 2 + 1 / 4, "b": 1.0})
    assert data.interactions.dtype == np.float32


def test_what_happened_at_the_moment_or_later_is_not_there(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "a", days=1, user_id="u"),
            make_event("purchase", "b", days=0, user_id="u"),
            make_event("purchase", "c", days=-1, user_id="late"),
        ],
    )
    assert data.users.ids() == ["u:u"]
    assert data.items.ids() == ["a"]
    assert data.timeline.times.max() < AS_OF.timestamp()


def test_the_moment_is_kept_to_the_microsecond(tmp_path: Path) -> None:
    moment = AS_OF + timedelta(microseconds=1)
    late = Event(event_id="m", event="view_item", timestamp=moment, items=[EventItem(item_id="b")])
    events = [make_event("purchase", "a", days=0, user_id="u"), late]
    assert read(tmp_path, events, as_of=moment).items.ids() == ["a"]
    later = moment + timedelta(microseconds=1)
    assert read(tmp_path, events, as_of=later).items.ids() == ["a", "b"]


def test_events_before_the_window_are_left_out(tmp_path: Path) -> None:
    events = [make_event("purchase", "a", days=9, user_id="u"),
              make_event("purchase", "b", days=11, user_id="u")]  # fmt: skip
    assert read(tmp_path, events, window=timedelta(days=10)).items.ids() == ["a"]


def test_a_log_without_events_is_too_little(tmp_path: Path) -> None:
    with pytest.raises(InsufficientData, match="import events first"):
        read_training_data(EventLog(tmp_path), as_of=AS_OF, weighting=Weighting())
    with pytest.raises(InsufficientData, match="import events first"):
        read(tmp_path, [Event(event_id="s", event="search", timestamp=AS_OF, search_term="x")])


def test_a_visitor_who_logged_in_is_folded_into_the_customer(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("view_item", "a", days=5, anonymous_id="v"),
            make_event("identify", "", days=4, anonymous_id="v", user_id="u"),
            make_event("view_item", "b", days=3, anonymous_id="v"),
            make_event("view_item", "c", days=2, anonymous_id="stranger"),
        ],
    )
    assert data.users.ids() == ["a:stranger", "u:u"]
    assert set(weights(data, "u:u")) == {"a", "b"}


def test_a_login_after_the_moment_joins_nothing(tmp_path: Path) -> None:
    events = [
        make_event("view_item", "a", days=5, anonymous_id="v"),
        make_event("identify", "", days=-0.1, anonymous_id="v", user_id="u"),
    ]
    assert read(tmp_path, events).users.ids() == ["a:v"]
    assert read(tmp_path, events, as_of=AS_OF + timedelta(days=2)).users.ids() == ["u:u"]


def test_a_login_before_the_window_still_counts(tmp_path: Path) -> None:
    events = [
        make_event("identify", "", days=50, anonymous_id="v", user_id="u"),
        make_event("view_item", "a", days=5, anonymous_id="v"),
    ]
    assert read(tmp_path, events, window=timedelta(days=10)).users.ids() == ["u:u"]


def test_on_a_shared_device_each_customer_keeps_their_own(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("view_item", "a", days=9, anonymous_id="tablet"),
            make_event("identify", "", days=8, anonymous_id="tablet", user_id="ann"),
            make_event("view_item", "b", days=7, anonymous_id="tablet"),
            make_event("identify", "", days=6, anonymous_id="tablet", user_id="bob"),
            make_event("view_item", "c", days=5, anonymous_id="tablet"),
        ],
    )
    assert set(weights(data, "u:ann")) == {"a", "b"}
    assert set(weights(data, "u:bob")) == {"c"}


def test_who_refuses_teaches_as_anybody(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "ab", days=2, user_id="no"),
            make_event("purchase", "a", days=1, user_id="yes"),
        ],
        denied={"u:no"},
    )
    assert data.users.ids() == ["u:yes"]
    assert data.popularity.counts.sum() == 3
    assert sorted(data.baskets.users.tolist()) == [-1, 0]


def test_a_refund_takes_a_purchase_back_and_is_no_dislike(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "ab", days=2, user_id="u"),
            make_event("refund", "a", days=1, user_id="u"),
        ],
    )
    assert set(weights(data, "u:u")) == {"b"}
    assert (data.interactions.data > 0).all()


def test_sums_that_cancel_leave_nothing(tmp_path: Path) -> None:
    # Rounding leaves a little above zero of the first sum in float64, of the last in float32.
    tenths = {"view_item": 0.1, "select_item": 0.2, "remove_from_cart": -0.3,
              "purchase": 0.3, "refund": -0.1, "rate": -0.2}  # fmt: skip
    events = [
        make_event(kind, item, days=1, user_id="u")
        for item, kinds in {"a": list(tenths)[:3], "b": list(tenths)[3:]}.items()
        for kind in kinds
    ]
    events.append(make_event("view_item", "c", days=1, user_id="u"))
    data = read(tmp_path, events, weighting=Weighting(kind_weights=tenths))
    assert set(weights(data, "u:u")) == {"c"}
    served, _ = data.history(0, now=AS_OF).totals()
    assert data.items.ids(served) == ["c"]


def feedback(action: str, items: str, *, days: float, user: str = "u") -> Event:
    return make_event("feedback", items, days=days, user_id=user, action=action)


def test_a_like_that_holds_is_an_event_and_one_taken_back_is_none(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            feedback("like", "abc", days=10),
            feedback("undo", "b", days=9),
            feedback("not_interested", "c", days=8),
            feedback("like", "a", days=10, user="v"),
        ],
    )
    assert weights(data, "u:u") == pytest.approx({"a": 1.5})
    assert weights(data, "u:v") == pytest.approx({"a": 1.5})


@pytest.mark.parametrize("action", ["not_interested", "never_again", "wrong"])
def test_what_a_person_refuses_says_nothing_of_their_taste(tmp_path: Path, action: str) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "ab", days=10, user_id="u"),
            make_event("purchase", "ab", days=10, user_id="v"),
            feedback(action, "a", days=5),
        ],
    )
    assert set(weights(data, "u:u")) == {"b"}
    assert set(weights(data, "u:v")) == {"a", "b"}
    number = data.items.number("a")
    assert data.popularity.counts[data.popularity.items == number].sum() == 2


def test_a_snoozed_or_regained_item_teaches_as_before(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "ab", days=10, user_id="u"),
            feedback("snooze", "a", days=5),
            feedback("never_again", "b", days=5),
            feedback("undo", "b", days=4),
        ],
    )
    assert set(weights(data, "u:u")) == {"a", "b"}


def test_the_timeline_is_grouped_by_user_and_oldest_first(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("view_item", "c", days=1, user_id="b"),
            make_event("purchase", "ba", days=3, user_id="b"),
            make_event("view_item", "a", days=2, user_id="a"),
        ],
    )
    timeline = data.timeline
    assert data.users.ids() == ["u:a", "u:b"]
    assert timeline.starts.tolist() == [0, 1, 4]
    assert timeline.users.tolist() == [0, 1, 1, 1]
    assert data.items.ids(timeline.items) == ["a", "b", "a", "c"]
    assert timeline.kinds.tolist()[1] == KIND_NUMBER["purchase"]
    assert timeline.events.tolist() == [0, 1, 1, 2]


def test_a_basket_is_what_one_person_bought_under_one_number(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            make_event("purchase", "ab", days=3, user_id="u", transaction_id="t1"),
            make_event("purchase", "bc", days=2, user_id="u", transaction_id="t1"),
            make_event("purchase", "c", days=1, user_id="u"),
            make_event("purchase", "ad", days=4),
            make_event("view_item", "a", days=1, user_id="u"),
        ],
    )
    baskets = data.baskets
    assert baskets.matrix.toarray().tolist() == [[1, 0, 0, 1], [1, 1, 1, 0], [0, 0, 1, 0]]
    assert baskets.users.tolist() == [-1, 0, 0]
    assert baskets.times.tolist() == [
        (AS_OF - timedelta(days=days)).timestamp() for days in (4, 3, 1)
    ]


def test_popularity_counts_events_per_item_kind_country_and_day(tmp_path: Path) -> None:
    dutch = EventContext(country="NL")
    data = read(
        tmp_path,
        [
            make_event("view_item", "a", days=0.9, user_id="u", context=dutch),
            make_event("view_item", "a", days=0.8, context=dutch),
            make_event("view_item", "a", days=0.7),
            make_event("purchase", "aa", days=1.5, user_id="u", context=dutch),
        ],
    )
    popularity = data.popularity
    midnight = AS_OF.timestamp()
    events = set(
        zip(
            popularity.kinds.tolist(),
            popularity.countries.tolist(),
            ((popularity.days - midnight) / 86_400).tolist(),
            popularity.counts.tolist(),
            strict=True,
        )
    )
    view, bought = KIND_NUMBER["view_item"], KIND_NUMBER["purchase"]
    assert events == {(view, 0, -1.0, 2.0), (view, -1, -1.0, 1.0), (bought, 0, -2.0, 1.0)}
    assert popularity.country_names.ids() == ["NL"]


def test_items_of_the_catalogue_have_numbers_before_anybody_saw_them(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [make_event("view_item", "b", days=1, user_id="u")],
        catalog=[Item(item_id="new", title="New"), Item(item_id="b", price=2.0)],
    )
    assert data.items.ids() == ["b", "new"]
    assert data.catalog.title(1) == "New"
    assert data.interactions.shape == (1, 2)


def test_profiles_stand_in_the_order_of_the_users(tmp_path: Path) -> None:
    declared = Profile(user_id="u", country="NL")
    data = read(
        tmp_path,
        [make_event("view_item", "a", days=1, user_id=id) for id in ("t", "u")],
        profiles={"u:u": declared, "u:gone": UNKNOWN},
    )
    assert data.profiles == (UNKNOWN, declared)
    query = data.queries(["u:u"], now=AS_OF)[0]
    assert query.country == "NL"
    assert query.known


def test_a_query_of_a_stranger_is_empty(tmp_path: Path) -> None:
    data = read(tmp_path, [make_event("view_item", "a", days=1, user_id="u")])
    query = data.queries(["a:stranger"], now=AS_OF)[0]
    assert len(query.history) == 0
    assert not query.known


def test_the_same_log_gives_the_same_arrays_in_another_time_zone(tmp_path: Path) -> None:
    here = read(
        tmp_path,
        [make_event("view_item", id, days=n / 7, user_id=id) for n, id in enumerate("abcdef", 1)],
    )
    program = (
        "import sys, pathlib, datetime as d; from recsys.events.log import EventLog;"
        "from recsys.dataset.training_data import *;"
        "t = read_training_data(EventLog(pathlib.Path(sys.argv[1])),"
        " weighting=Weighting(half_life_days=10), as_of=d.datetime(2026, 11, 21, tzinfo=d.UTC));"
        "print(t.popularity.days.tolist(), t.timeline.times.tolist())"
    )
    in_tokyo = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "TZ": "Asia/Tokyo"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert in_tokyo.strip() == f"{here.popularity.days.tolist()} {here.timeline.times.tolist()}"


ACTS = st.lists(
    st.tuples(
        st.sampled_from([*DEFAULT_KIND_WEIGHTS, "view_item_list", "search"]),
        st.sampled_from(["a", "b", "ab", "bca"]),
        st.sampled_from(["ann", "bob", "cyd", "dan"]),
        st.integers(0, 400),
    ),
    min_size=1,
    max_size=80,
)


@settings(deadline=None, max_examples=12)
@given(acts=ACTS, half_life=st.sampled_from([1.0, 30.0, 365.0]))
def test_training_weighs_a_history_as_serving_does(
    acts: list[tuple[str, str, str, int]],
    half_life: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = [
        make_event(
            kind,
            items,
            days=days + 0.25,
            user_id=user,
            event_id=str(number),
            action="like" if kind == "feedback" else None,
        )
        for number, (kind, items, user, days) in enumerate(acts)
    ]
    weighting = Weighting(half_life_days=half_life)
    data = read(tmp_path_factory.mktemp("log"), events, weighting=weighting)
    for user, query in enumerate(data.queries(data.users.ids(), now=AS_OF)):
        items, totals = query.history.totals()
        served = np.zeros(len(data.items), np.float32)
        served[items] = totals
        gross = np.bincount(
            query.history.items, np.abs(query.history.weights), minlength=len(data.items)
        )
        trained = data.interactions[[user]].toarray()[0]
        # Where weights of both signs cancel, float32 is exact to a share of what was summed.
        np.testing.assert_allclose(trained, served, rtol=1e-5, atol=2e-6 * max(gross.max(), 1e-30))


def visits(data: TrainingData, person: str) -> list[str]:
    user = data.users.number(person)
    assert user is not None
    span = slice(data.timeline.starts[user], data.timeline.starts[user + 1])
    numbers, items = data.timeline.sessions[span], data.timeline.items[span]
    return ["".join(data.items.ids(items[numbers == visit])) for visit in np.unique(numbers)]


def test_a_silence_of_more_than_half_an_hour_ends_a_visit(tmp_path: Path) -> None:
    minute = 1 / 1440
    moments = {"a": 100.0, "b": 71.0, "c": 40.5, "d": 10.4}
    data = read(
        tmp_path,
        [
            *(
                make_event("view_item", item, days=ago * minute, anonymous_id="v")
                for item, ago in moments.items()
            ),
            make_event("view_item", "e", days=10.3 * minute, user_id="u"),
        ],
    )
    assert visits(data, "a:v") == ["ab", "c", "d"]
    assert visits(data, "u:u") == ["e"]
    assert len(np.unique(data.timeline.sessions)) == 4


def test_a_session_id_makes_a_visit_however_long_the_silence(tmp_path: Path) -> None:
    rows = [("a", 9.0, "s1"), ("b", 5.0, "s1"), ("c", 4.999, "s2"), ("d", 4.998, None)]
    data = read(
        tmp_path,
        [
            make_event("view_item", item, days=days, user_id="u", session_id=session)
            for item, days, session in rows
        ],
    )
    assert visits(data, "u:u") == ["ab", "c", "d"]
