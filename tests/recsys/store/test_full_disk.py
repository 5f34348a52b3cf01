"""A person can be erased on a full disk: on a real one, of a few megabytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ON_A_SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]

FILL_AND_ERASE = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from recsys.errors import StoreUnavailable
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.store.sqlite import SQLiteStore
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True)
folder, reserve = Path(sys.argv[1]), int(sys.argv[2])
store = SQLiteStore(folder / "store.sqlite", reserve_bytes=reserve)
def event(n, user):
    return Event(event_id=f"e{n}", event="view_item", timestamp=NOON + timedelta(seconds=n),
                 user_id=user, consent=YES,
                 items=[EventItem(item_id=f"item-{n}-{k}") for k in range(20)])
n = 0
try:
    while True:
        names = ["very-private" if k % 2 else f"u{n}" for k in range(20)]
        store.append([event(n + k, name) for k, name in enumerate(names)], received_at=NOON)
        n += 20
except StoreUnavailable:
    pass
try:
    with (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 512)
except OSError:
    pass
try:
    erasure = store.erase(Person("very-private"), receipt="r", at=NOON + timedelta(days=1))
    left = [p.name for p in folder.iterdir() if b"very-private" in p.read_bytes()]
    print("erased", erasure.removed.history == n // 2 * 20, left)
except StoreUnavailable:
    print("no room")
print(bool(store.append([event(n, "somebody")], received_at=NOON)[0])
      if (folder / "store.sqlite.reserve").exists() else "no reserve")
"""


def on_a_full_disk(folder: Path, *, reserve: int) -> list[str]:
    """What the program prints that fills a disk of 6 MB and then erases."""
    mounted = f"mount -t tmpfs -o size=6m none {folder} && exec {sys.executable} -c '{{}}' "
    command = mounted.format(FILL_AND_ERASE.replace("'", "'\\''"))
    try:
        done = subprocess.run(
            [*ON_A_SMALL_DISK, f"{command} {folder} {reserve}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("this system has no unshare")
    if "Operation not permitted" in done.stderr or "must be superuser" in done.stderr:
        pytest.skip("this system lets nobody make a small disk")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_a_reserve_a_full_disk_refuses_even_an_erasure(tmp_path: Path) -> None:
    assert on_a_full_disk(tmp_path, reserve=0) == ["no room", "no reserve"]


def test_with_a_reserve_a_person_is_erased_and_the_reserve_is_laid_by_again(tmp_path: Path) -> None:
    assert on_a_full_disk(tmp_path, reserve=1_500_000) == ["erased True []", "True"]
