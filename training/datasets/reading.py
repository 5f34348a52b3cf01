"""Rows of a file with their line numbers: JSONL, CSV (both also .gz) and Parquet."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import InvalidInput

Layout = Literal["jsonl", "csv", "parquet"]

_LAYOUTS: Final[Mapping[str, Layout]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
}
_BATCH_ROWS: Final = 8_192


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row as it stands: JSON text, or a mapping from column to cell.

    A CSV cell is text; an empty or null cell is left out. `line` counts from 1: lines of the file
    (a CSV's header is line 1), or rows of a Parquet file.
    """

    line: int
    content: bytes | Mapping[str, object]
    text: str = ""

    @property
    def raw(self) -> str:
        """The row as text, to be kept aside."""
        if isinstance(self.content, bytes):
            return self.content.decode("utf-8", "backslashreplace")
        return self.text or msgspec.json.encode(self.content, enc_hook=str).decode()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Lines of which no row can be made."""

    line: int
    reason: str
    raw: str
    lines: int = 1


class TableFile:
    """One file of rows; iterating reads it from the start, in bounded memory.

    `delimiter` stands between the columns of a text table: a tab in .tsv and .txt, else a comma.

    `done` of `total` says how far the last iteration has come (bytes of the file, or rows of a
    Parquet file), and `rows` how many rows it has given. InvalidInput where the file is missing,
    of an unknown layout, or damaged.
    """

    def __init__(self, path: Path, *, delimiter: str | None = None) -> None:
        self.path = path
        self.layout = _layout(path)
        self.done = 0
        self.rows = 0
        tabs = {".tsv", ".txt"} & {suffix.lower() for suffix in path.suffixes}
        self._delimiter = delimiter or ("\t" if tabs else ",")

    @cached_property
    def total(self) -> int:
        """Bytes of a text file, rows of a Parquet file."""
        if self.layout == "parquet":
            with self._parquet() as file:
                return int(file.metadata.num_rows)
        return self.path.stat().st_size

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The column names; of a JSONL file the keys of its first object."""
        if self.layout == "parquet":
            with self._parquet() as file:
                return tuple(file.schema_arrow.names)
        for row in self._csv_rows() if self.layout == "csv" else self._json_rows():
            if isinstance(row, FileRow):
                return _keys(row)
        return ()

    def __iter__(self) -> Iterator[FileRow | Unreadable]:
        self.done = self.rows = 0
        if self.layout == "parquet":
            rows = self._parquet_rows()
        else:
            rows = self._csv_rows(skip_header=True) if self.layout == "csv" else self._json_rows()
        for row in rows:
            self.rows += row.lines if isinstance(row, Unreadable) else 1
            yield row

    def last_lines(self, column: str) -> dict[object, int]:
        """Value of the column → the last line that has it; null stands for a row without."""
        if self.layout != "parquet":
            rows = (row for row in self if isinstance(row, FileRow))
            return {
                row.content.get(column): row.line
                for row in rows
                if isinstance(row.content, Mapping)
            }
        last: dict[object, int] = {}
        lines = count(1)
        with self._parquet() as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    last[value if _is_set(value) else None] = next(lines)
        return last

    def _json_rows(self) -> Iterator[FileRow | Unreadable]:
        for line, text in enumerate(self._lines(), start=1):
            if text.strip():
                yield FileRow(line, text.rstrip(b"\r\n"))

    def _csv_rows(self, *, skip_header: bool = False) -> Iterator[FileRow | Unreadable]:
        """The header is given as a row of its own names, unless it is skipped."""
        taken: list[str] = []
        reader = csv.reader(self._texts(taken), delimiter=self._delimiter)
        header: list[str] = []
        while True:
            first = reader.line_num + 1
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Unreadable(first, f"not a CSV row: {error}", "".join(taken), len(taken))
                continue
            raw = "".join(taken).rstrip("\r\n")
            if not cells:
                continue
            if not header:
                header = [name.strip() for name in cells]
                if skip_header:
                    continue
            yield _csv_row(first, header, cells, raw, lines=len(taken))

    def _texts(self, taken: list[str]) -> Iterator[str]:
        """The lines as text; each is noted in `taken` until the row that it belongs to is made."""
        for line, content in enumerate(self._lines()):
            text = content.decode("utf-8", "surrogateescape")
            if line == 0:
                text = text.removeprefix("\ufeff")
            taken.append(text)
            yield text

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file, _uncompressed(file, self.path) as lines:
                for line in lines:
                    self.done = file.tell()
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInput(
                "file", str(self.path), f"it cannot be read ({error}); get it again"
            ) from error

    def _parquet_rows(self) -> Iterator[FileRow | Unreadable]:
        line = 0
        with self._parquet() as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                names = batch.schema.names
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    line += 1
                    yield FileRow(
                        line, {n: v for n, v in zip(names, cells, strict=True) if _is_set(v)}
                    )
                self.done = line

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InvalidInput(
                "file", str(self.path), f"it cannot be read ({error}); get it again"
            ) from error


def _layout(path: Path) -> Layout:
    if not path.is_file():
        raise InvalidInput("file", str(path), "there is no such file; check the path")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    layout = _LAYOUTS.get(suffixes[-1]) if suffixes else None
    if layout is None or (layout == "parquet" and path.suffix.lower() == ".gz"):
        raise InvalidInput(
            "file", path.name, "give a .jsonl, .csv or .tsv file (also .gz) or a .parquet file"
        )
    return layout


def _uncompressed(file: BinaryIO, path: Path) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else nullcontext(file)


def _csv_row(
    line: int, header: Sequence[str], cells: Sequence[str], raw: str, *, lines: int
) -> FileRow | Unreadable:
    if len(cells) != len(header):
        reason = f"the row has {len(cells)} cells; the header has {len(header)} columns"
        return Unreadable(line, reason, _shown(raw), lines)
    if not raw.isascii() and any("\udc80" <= sign <= "\udcff" for sign in raw):
        return Unreadable(line, "the row is not UTF-8; save the file as UTF-8", _shown(raw), lines)
    content = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    return FileRow(line, content, raw)


def _shown(raw: str) -> str:
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _keys(row: FileRow) -> tuple[str, ...]:
    if isinstance(row.content, bytes):
        try:
            value = msgspec.json.decode(row.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ()
        return tuple(value) if isinstance(value, dict) else ()
    return tuple(row.content)


def _is_set(value: object) -> bool:
    """Parquet files written by pandas hold NaN where they mean null."""
    return value is not None and value == value and value != ""
