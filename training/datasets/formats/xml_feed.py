"""Products of an RSS 2.0 or Atom feed, one by one, in bounded memory and without entities.

A document type declaration is refused before anything in it is read: it is where entities are
declared that expand to gigabytes or point to other files, and no feed needs one.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

from recsys.errors import InvalidInput
from training.datasets.reading import FileRow, Unreadable

CHUNK: Final = 1 << 16
"""Bytes read at a time."""
PRODUCT_CHARACTERS: Final = 1_000_000
"""The most text that one product may have."""
_PRODUCTS: Final = frozenset({"item", "entry"})


class XMLFeed:
    """One XML file; iterating gives a Row per product: field name → its values, in order.

    Names come without their namespace; fields nested in a field (shipping, tax) are ignored.
    `done` of `total` are bytes of the file. InvalidInput where it is not
    XML, has a document type declaration, or a product of more than PRODUCT_CHARACTERS.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput("file", str(path), "there is no such file; check the path")
        self.path = path
        self.total = path.stat().st_size
        self.done = 0
        self.rows = 0

    def __iter__(self) -> Iterator[FileRow | Unreadable]:
        self.done = self.rows = 0
        parsing = _Parsing(self.path)
        try:
            with self.path.open("rb") as file:
                opened = gzip.GzipFile(fileobj=file) if self.path.suffix == ".gz" else file
                while chunk := opened.read(CHUNK):
                    parsing.feed(chunk, last=False)
                    self.done = file.tell()
                    yield from self._taken(parsing)
            parsing.feed(b"", last=True)
        except expat.ExpatError as error:
            raise InvalidInput(
                "file", str(self.path), f"it is no well-formed XML ({error}); get it again"
            ) from error
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInput(
                "file", str(self.path), f"it cannot be read ({error}); get it again"
            ) from error
        yield from self._taken(parsing)

    def _taken(self, parsing: _Parsing) -> list[FileRow]:
        rows, parsing.products = parsing.products, []
        self.rows += len(rows)
        return rows


class _Parsing:
    """Where the parser stands: outside, in a product, in one of its fields."""

    def __init__(self, path: Path) -> None:
        self.products: list[FileRow] = []
        self._path = path
        self._depth = 0
        self._product_depth = 0
        self._line = 0
        self._size = 0
        self._fields: dict[str, list[str]] = {}
        self._google: set[str] = set()
        self._text: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, chunk: bytes, *, last: bool) -> None:
        """Parses the next piece of the file."""
        self._parser.Parse(chunk, last)

    def _refuse(self, *_declaration: object) -> None:
        raise InvalidInput(
            "file",
            str(self._path),
            "it declares a document type, which may hide entities; export the feed without DOCTYPE",
        )

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if not self._product_depth and _local(name) in _PRODUCTS:
            self._product_depth, self._line = self._depth, self._parser.CurrentLineNumber
            self._fields, self._google, self._size = {}, set(), 0
        self._text = []

    def _end(self, name: str) -> None:
        if self._product_depth and self._depth == self._product_depth + 1:
            self._note(name)
        elif self._depth == self._product_depth:
            self.products.append(FileRow(self._line, dict(self._fields)))
            self._product_depth = 0
        self._depth -= 1
        self._text = []

    def _note(self, name: str) -> None:
        """Keeps the field that ends; Google's own goes before a feed's of the same name."""
        namespace, local = name.rpartition(" ")[0], _local(name)
        if "google" in namespace and local not in self._google:
            self._google.add(local)
            self._fields[local] = []
        if "google" in namespace or local not in self._google:
            self._fields.setdefault(local, []).append("".join(self._text))

    def _characters(self, text: str) -> None:
        if not self._product_depth:
            return
        self._size += len(text)
        if self._size > PRODUCT_CHARACTERS:
            raise InvalidInput(
                "file",
                str(self._path),
                f"the product of line {self._line} has more than {PRODUCT_CHARACTERS:,} characters",
            )
        self._text.append(text)


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
