"""Lines that an import rejected: those that name a person are listed and removed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from recsys.atomic_files import write_atomically


class _Line(msgspec.Struct):
    line: int | None = None
    raw: Any = None


def lines_about(folder: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The lines that name one of these ids: the file and the line's number in the imported file.

    Their text is left out: it could not be parsed and may be about other persons as well.
    """
    wanted = _naming(ids)
    return [
        {"file": path.name, "line": line.line}
        for path in _files(folder)
        for _, line in _lines(path)
        if wanted.search(str(line.raw))
    ]


def remove_lines(folder: Path, ids: Sequence[str]) -> int:
    """Removes the lines that name one of these ids, durably, and gives their number.

    Such a line could not be parsed, so an id counts wherever it stands as a separate word: too much
    is removed rather than too little.
    """
    wanted = _naming(ids)
    removed = 0
    for path in _files(folder):
        lines = list(_lines(path))
        kept = [text for text, line in lines if not wanted.search(str(line.raw))]
        if len(kept) < len(lines):
            removed += len(lines) - len(kept)
            write_atomically(path, b"".join(kept))
    return removed


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("*.jsonl")))


def _lines(path: Path) -> Iterator[tuple[bytes, _Line]]:
    for text in path.read_bytes().splitlines(keepends=True):
        try:
            yield text, _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield text, _Line(raw=text.decode("utf-8", "replace"))


def _naming(ids: Sequence[str]) -> re.Pattern[str]:
    # As it is, or as JSON writes it.
    forms = {form for id in ids if id for form in (id, msgspec.json.encode(id)[1:-1].decode())}
    if not forms:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(forms)))})(?![\w-])")


_decoder = msgspec.json.Decoder(_Line)
