"""Rows of files, with the lines on which they begin."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import InvalidInput
from training.datasets.reading import FileRow, TableFile, Unreadable


def written(path: Path, content: bytes) -> TableFile:
    path.write_bytes(content)
    return TableFile(path)


def test_a_csv_row_with_a_line_break_in_quotes_begins_on_its_first_line(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", b'id,text\n1,"two\nlines"\n2,one\n')
    assert [(row.line, row.content) for row in table if isinstance(row, FileRow)] == [
        (2, {"id": "1", "text": "two\nlines"}),
        (4, {"id": "2", "text": "one"}),
    ]


def test_an_empty_cell_and_a_null_are_left_out(tmp_path: Path) -> None:
    rows = {"id": ["1"], "price": [float("nan")], "country": pa.array([None], pa.string())}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    (row,) = TableFile(tmp_path / "a.parquet")
    assert isinstance(row, FileRow)
    assert row.content == {"id": "1"}
    (row,) = written(tmp_path / "a.csv", b"id,price\n1,\n")
    assert isinstance(row, FileRow)
    assert row.content == {"id": "1"}


def test_a_row_with_a_cell_too_few_is_set_aside_with_its_text(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.csv", b"id,price\n1\n2,3\n")
    assert first == Unreadable(2, "the row has 1 cells; the header has 2 columns", "1")
    assert isinstance(second, FileRow)


def test_a_row_that_is_not_utf_8_is_set_aside_and_the_next_is_read(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.csv", b"id\ncaf\xe9\ncaf\xc3\xa9\n")
    assert isinstance(first, Unreadable)
    assert first.line == 2
    assert "UTF-8" in first.reason
    assert first.raw == "caf\\xe9"
    assert isinstance(second, FileRow)
    assert second.content == {"id": "café"}


def test_a_quote_that_is_never_closed_counts_every_line_that_it_swallows(tmp_path: Path) -> None:
    swallowed = b"x" * 1_000 + b"\n"
    table = written(tmp_path / "a.csv", b'id\n"' + swallowed * 200)
    first, *rest = table
    assert isinstance(first, Unreadable)
    assert first.lines > 100
    assert (table.rows, first.lines + len(rest)) == (200, 200)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert written(tmp_path / "a.csv", b"\xef\xbb\xbfid,x\n1,2\n").columns == ("id", "x")


def test_compressed_and_plain_files_give_the_same_rows(tmp_path: Path) -> None:
    content = b'{"item_id": "a"}\n\n{"item_id": "b"}\n'
    plain = list(written(tmp_path / "a.jsonl", content))
    assert list(written(tmp_path / "a.jsonl.gz", gzip.compress(content))) == plain
    assert [row.line for row in plain] == [1, 3]


def test_a_table_can_be_read_again_from_the_start(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", b"id\n1\n2\n")
    assert list(table) == list(table)
    assert (table.rows, table.done, table.total) == (2, 7, 7)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    whole = gzip.compress(b'{"item_id": "a"}\n' * 1_000)
    table = written(tmp_path / name, whole[:-20])
    with pytest.raises(InvalidInput, match=f"{name}.*get it again"):
        list(table)


def test_a_missing_file_and_an_unknown_suffix_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere.csv'; there is no such file"):
        TableFile(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidInput, match=r"a.xlsx'; give a .jsonl"):
        written(tmp_path / "a.xlsx", b"")
