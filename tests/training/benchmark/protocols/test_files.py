"""What breaks a benchmark file's format is named by file, line and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from recsys.errors import InvalidInput
from training.benchmark.protocols.files import (
    Numbering,
    read_attributes,
    read_baskets,
    read_clicks,
    read_item_lists,
)


def test_item_lists_keep_users_and_the_order_of_their_items(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("u7 b a\nu3\n\nu5 a c\n")
    numbering = Numbering()
    read = read_item_lists(path, numbering)
    assert read.users == ("u7", "u3", "u5")
    assert [numbering.vocabulary().ids(read.of(user)) for user in range(3)] == [
        ["b", "a"],
        [],
        ["a", "c"],
    ]


def test_a_packed_file_reads_as_the_plain_one(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_text("1 2 3\n")
    packed.write_bytes(gzip.compress(b"1 2 3\n"))
    first, second = (read_item_lists(path, Numbering()) for path in (plain, packed))
    assert first.users == second.users
    assert first.items.tolist() == second.items.tolist()


def test_a_user_on_two_lines_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("1 2\n3 4\n1 5\n")
    with pytest.raises(InvalidInput, match=r"train\.txt, line 3.*line 1 already"):
        read_item_lists(path, Numbering())


def test_clicks_are_ordered_by_session_and_time(tmp_path: Path) -> None:
    path = tmp_path / "clicks.txt"
    path.write_text("SessionId\tItemId\tTime\ns\tb\t20\nt\tc\t5\ns\ta\t10.5\n")
    numbering = Numbering()
    clicks = read_clicks(path, numbering)
    assert clicks.sessions.tolist() == [0, 0, 1]
    assert numbering.vocabulary().ids(clicks.items) == ["a", "b", "c"]
    assert clicks.times.tolist() == [10.5, 20.0, 5.0]


def test_clicks_by_comma_and_columns_in_any_order_are_read(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("Time,SessionId,ItemId\n1,s,a\n")
    assert read_clicks(path, Numbering()).times.tolist() == [1.0]


@pytest.mark.parametrize("line", ["s\ta", "s\ta\tnever", "s\ta\tnan", "\ta\t1", "s\t\t1"])
def test_a_malformed_click_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "clicks.txt"
    path.write_text(f"SessionId\tItemId\tTime\ns\ta\t1\n{line}\n")
    with pytest.raises(InvalidInput, match=r"clicks\.txt, line 3.*give a session"):
        read_clicks(path, Numbering())


def test_clicks_without_the_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clicks.txt"
    path.write_text("s\ta\t1\n")
    with pytest.raises(InvalidInput, match="header must name SessionId"):
        read_clicks(path, Numbering())


def test_fillers_at_either_end_of_the_baskets_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps({"1": [[-1], [3, 4], [5], [-1]], "2": [["x"]], "3": [[-1]]}))
    assert read_baskets(path) == {"1": [["3", "4"], ["5"]], "2": [["x"]], "3": []}


def test_a_future_of_one_basket_needs_no_list_around_it(tmp_path: Path) -> None:
    path = tmp_path / "future.json"
    path.write_text(json.dumps({"1": [3, 4]}))
    assert read_baskets(path) == {"1": [["3", "4"]]}


@pytest.mark.parametrize("value", [7, "abc", [[1], 2], [[1.5]], [[None]]])
def test_what_is_no_list_of_baskets_is_refused_by_user(tmp_path: Path, value: object) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps({"u9": value}))
    with pytest.raises(InvalidInput, match="u9"):
        read_baskets(path)


def test_broken_json_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text('{"1": [[1]],\n"2": [}')
    with pytest.raises(InvalidInput, match=r"history\.json, line 2"):
        read_baskets(path)


def test_attributes_are_lists_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_text(json.dumps({"1": [10, "b"]}))
    assert read_attributes(path) == {"1": ["10", "b"]}
    path.write_text(json.dumps({"1": "b"}))
    with pytest.raises(InvalidInput, match="give a list of attribute ids"):
        read_attributes(path)


@pytest.mark.parametrize("content", [b"\x1f\x8bnot gzip", b"\xff\xfe1 2\n", b""])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"train\.txt"):
        read_item_lists(path, Numbering())
