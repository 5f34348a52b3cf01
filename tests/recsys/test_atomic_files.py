"""Files and folders that are whole or not there, whatever happens to who writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.atomic_files import atomic_path, path_beside, remove_leftovers, write_atomically

# Writes into a draft of the file in argv[1] and dies before it is renamed.
DYING_WRITER = """
import os, sys
from pathlib import Path
from recsys.atomic_files import atomic_path
with atomic_path(Path(sys.argv[1])) as draft:
    draft.write_bytes(b"half")
    os._exit(9)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def file_in(folder: Path) -> Path:
    folder.mkdir()
    return folder / "weights.npy"


def write_half(path: Path) -> None:
    path.write_bytes(b"half")
    raise RuntimeError


def die_while_writing(path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DYING_WRITER, str(path)], check=False)
    assert died.returncode == 9


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == {"state.json"}


def test_a_writer_killed_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    die_while_writing(path)
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    die_while_writing(path)
    assert len(names(tmp_path)) == 1
    write_atomically(path, b"new")
    assert names(tmp_path) == {"state.json"}


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as draft:
        write_half(draft)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"state.json"}


def test_two_writers_of_one_file_do_not_see_each_others(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with atomic_path(path) as first:
        first.write_bytes(b"first")
        with atomic_path(path) as second:
            assert second != first
            assert not second.exists()
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
        assert first.read_bytes() == b"first"
    assert path.read_bytes() == b"first"


def test_a_writer_in_another_process_keeps_its_file(tmp_path: Path) -> None:
    writer = DYING_WRITER.replace("os._exit(9)", "print(flush=True); input()")
    path = tmp_path / "state.json"
    arguments = [sys.executable, "-c", writer, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_atomically(path, b"meanwhile")
        assert path.read_bytes() == b"meanwhile"
        process.communicate(b"\n")
    assert path.read_bytes() == b"half"


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with atomic_path(path) as draft:
        file_in(draft).write_bytes(b"1")
        assert not path.exists()
    assert (path / "weights.npy").read_bytes() == b"1"
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "other") as draft:
        write_half(file_in(draft))
    assert names(tmp_path) == {"bundle"}


def test_only_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    die_while_writing(tmp_path / "a")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    (tmp_path / f".b.{dead}.writing").mkdir()
    (tmp_path / f".c.{os.getpid()}.writing").mkdir()
    alive = path_beside(tmp_path / "d")
    alive.write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    remove_leftovers(tmp_path, of="a")
    assert len(names(tmp_path)) == 4
    remove_leftovers(tmp_path)
    assert names(tmp_path) == {f".c.{os.getpid()}.writing", alive.name, ".hidden"}
