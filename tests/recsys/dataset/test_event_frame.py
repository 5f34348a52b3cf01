"""Frames in: the same data as from the event log, and errors that name the column."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.dataset.event_frame import EVENT_COLUMNS, event_table
from recsys.dataset.item_frame import ITEM_COLUMNS, PROFILE_COLUMNS, item_list, profiles_by_person
from recsys.dataset.splitting import HeldOut, hold_out
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData, InvalidInput
from recsys.events.log import rows
from recsys.events.schema import anonymised
from recsys.synthetic import simulate


@pytest.fixture(scope="module")
def table(small_shop) -> pa.Table:
    """The small shop's log as a table of canonical columns."""
    table = pa.concat_tables([pq.read_table(path) for path in small_shop.log.files()])
    renamed = {"kind": "event", "list_index": "index"}
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])
    return table.drop_columns(["position"])


@pytest.fixture(scope="module")
def flat(table: pa.Table) -> pd.DataFrame:
    """The same as a pandas frame."""
    return table.to_pandas()


def frame(**columns: Any) -> pd.DataFrame:
    """Two rows that are right, with these columns instead of or beside theirs."""
    base = {
        "event": ["view_item", "purchase"],
        "timestamp": pd.to_datetime(["2026-11-01T10:00Z", "2026-11-02T10:00Z"]),
        "user_id": ["u-1", "u-2"],
        "item_id": ["a", "b"],
    }
    columns = {name: value for name, value in {**base, **columns}.items() if value is not None}
    return pd.DataFrame(columns)


def as_json(struct: msgspec.Struct) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(struct))


def same(left: TrainingData, right: TrainingData) -> None:
    assert left.as_of == right.as_of
    assert left.users == right.users
    assert left.items == right.items
    assert left.profiles == right.profiles
    assert left.catalog.items == right.catalog.items
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(
            getattr(left.interactions, name), getattr(right.interactions, name)
        )
        np.testing.assert_array_equal(
            getattr(left.baskets.matrix, name), getattr(right.baskets.matrix, name)
        )
    for name in ("starts", "items", "kinds", "times", "events", "sessions"):
        np.testing.assert_array_equal(
            getattr(left.timeline, name), getattr(right.timeline, name), err_msg=name
        )
    np.testing.assert_array_equal(left.impressions.items, right.impressions.items)
    np.testing.assert_array_equal(left.impressions.outcomes, right.impressions.outcomes)


def test_a_frame_gives_the_training_data_of_the_same_event_log(small_shop, flat) -> None:
    items = pd.DataFrame([as_json(item) for item in small_shop.shop.items])
    profiles = pd.DataFrame([as_json(profile) for profile in small_shop.shop.profiles])
    moment = small_shop.end - timedelta(days=10)
    data = TrainingData.from_events(flat, items=items, profiles=profiles, as_of=moment)
    same(data, small_shop.as_of(moment))


def test_pyarrow_and_pandas_frames_give_the_same(table, flat) -> None:
    assert event_table(table) == event_table(flat)


def test_canonical_events_with_nested_columns_give_the_same_as_the_log(small_shop) -> None:
    batches = simulate(small_shop.shop, days=10, rng=np.random.default_rng(3))
    events = [event for batch in batches for event in batch]
    nested = pd.DataFrame([as_json(event) for event in events])
    nested["timestamp"] = pd.to_datetime(nested["timestamp"], format="ISO8601")
    table = event_table(nested)
    wanted = rows(event if event.personalization else anonymised(event) for event in events)
    for name in wanted.column_names:
        assert table[name].to_pylist() == wanted[name].to_pylist(), name


def test_what_is_held_out_of_a_frame_is_what_is_held_out_of_the_log(small_shop, flat) -> None:
    cut = small_shop.end - timedelta(days=10)
    ours = HeldOut.from_events(flat, cut=cut, until=small_shop.end)
    theirs = hold_out(small_shop.log, cut=cut, until=small_shop.end, seed=7)
    assert ours.persons == theirs.persons
    assert [truth.items for truth in ours.truth] == [truth.items for truth in theirs.truth]


def test_as_of_is_just_after_the_newest_event_where_it_is_not_given() -> None:
    assert TrainingData.from_events(frame()).as_of == datetime(2026, 11, 2, 10, 0, 1, tzinfo=UTC)


def test_events_at_or_after_as_of_are_left_out() -> None:
    data = TrainingData.from_events(frame(), as_of=datetime(2026, 11, 2, 10, tzinfo=UTC))
    assert data.users.ids() == ["u:u-1"]


def test_rows_of_one_event_id_are_one_event_and_of_one_order_one_basket() -> None:
    data = TrainingData.from_events(
        frame(event=["purchase"] * 2, event_id=["e", "e"], user_id=["u", "u"])
    )
    assert data.baskets.matrix.shape[0] == 1
    assert data.timeline.events.tolist() == [0, 0]


def test_whole_numbers_are_read_as_ids() -> None:
    data = TrainingData.from_events(frame(user_id=[1, 2], item_id=[10, 20]))
    assert data.users.ids() == ["u:1", "u:2"]
    assert data.items.ids() == ["10", "20"]


def test_a_row_without_consent_is_anybodys() -> None:
    data = TrainingData.from_events(frame(personalization=[False, True]))
    assert data.users.ids() == ["u:u-2"]
    assert len(data.items) == 2


def test_a_person_who_refuses_in_the_profile_is_anybodys() -> None:
    profiles = pd.DataFrame(
        {"user_id": ["u-1"], "consent": [{"personalization": False, "analytics": False}]}
    )
    assert TrainingData.from_events(frame(), profiles=profiles).users.ids() == ["u:u-2"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"userid": ["u", "u"]}, "events column is 'userid'; do you mean user_id"),
        ({"shoe": [1, 2]}, "events column is 'shoe'; rename it or leave it out"),
        ({"event": None}, "the column event is required"),
        ({"item_id": None}, "the column item_id is required"),
        ({"user_id": None}, "one of user_id and anonymous_id"),
        ({"event": ["view_item", "bought"]}, "column 'event' of row 1 is 'bought'; use one of"),
        ({"event": [1.5, 2.5]}, "column 'event' is 'of type double'"),
        ({"item_id": ["a", None]}, "row 1 is a purchase event, which names an item"),
        ({"item_id": ["a", ""]}, "column 'item_id' of row 1 is ''"),
        ({"item_id": ["a", "b\x00"]}, "column 'item_id' of row 1 is .*control character"),
        ({"user_id": [1.0, np.nan]}, "column 'user_id' is 'of type double'; make it text"),
        ({"price": ["9,95", "1"]}, "column 'price' is 'of type .*string'; make it numbers"),
        ({"price": [-1.0, 2.0]}, "column 'price' of row 0 is -1.0; use a number from 0"),
        ({"quantity": [1, 0]}, "column 'quantity' of row 1 is 0.0"),
        (
            {"timestamp": pd.to_datetime(["2026-11-01", "2026-11-02"])},
            "column 'timestamp' is .*; say the zone: .*tz_localize",
        ),
        ({"timestamp": [1.0, 2.0]}, "column 'timestamp' is 'of type double'; make it times"),
        ({"timestamp": ["yesterday", "today"]}, "column 'timestamp' is 'yesterday'; send RFC 3339"),
        ({"personalization": ["yes", "no"]}, "column 'personalization' is .*; give true or false"),
    ],
)
def test_a_wrong_column_is_answered_with_its_name_the_value_and_the_remedy(
    columns: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        TrainingData.from_events(frame(**columns))


def test_text_times_with_a_zone_are_read() -> None:
    data = TrainingData.from_events(
        frame(timestamp=["2026-11-01T10:00:00Z", "2026-11-02T11:00:00+01:00"])
    )
    assert data.as_of == datetime(2026, 11, 2, 10, 0, 1, tzinfo=UTC)


def test_no_frame_is_refused_with_its_type() -> None:
    with pytest.raises(InvalidInput, match="events is 'list'; give a pandas DataFrame"):
        TrainingData.from_events([1])  # type: ignore[arg-type]


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one event"):
        TrainingData.from_events(frame().iloc[:0])
    with pytest.raises(InsufficientData, match="no event with an item"):
        TrainingData.from_events(frame(), as_of=datetime(2020, 1, 1, tzinfo=UTC))


def test_items_and_profiles_name_the_row_and_the_column() -> None:
    with pytest.raises(InvalidInput, match="items column 'price' of row 1 is -2"):
        item_list(pd.DataFrame({"item_id": ["a", "b"], "price": [1.0, -2.0]}))
    with pytest.raises(InvalidInput, match="items column is 'colour'"):
        item_list(pd.DataFrame({"item_id": ["a"], "colour": ["red"]}))
    with pytest.raises(InvalidInput, match="the column item_id is required"):
        item_list(pd.DataFrame({"title": ["a"]}))
    with pytest.raises(InvalidInput, match="profiles column 'user_id' of row 0"):
        profiles_by_person(pd.DataFrame({"country": ["NL"]}))


def test_a_category_may_be_a_list_or_a_path() -> None:
    both = item_list(pd.DataFrame({"item_id": ["a", "b"], "category": ["Home > Mugs", ["Home"]]}))
    assert [item.category for item in both] == [["Home", "Mugs"], ["Home"]]


def test_the_docstring_names_the_columns_that_are_required() -> None:
    text = TrainingData.from_events.__doc__ or ""
    named = set(re.findall(r"`(\w+)`", text))
    assert {"event", "timestamp", "item_id", "user_id", "anonymous_id"} <= named
    assert named - {"as_of"} <= {*EVENT_COLUMNS, *ITEM_COLUMNS, *PROFILE_COLUMNS}
