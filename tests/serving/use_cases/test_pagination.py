"""Another selection: earlier answers are found by their ids, also while they are being logged."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite import SQLiteStore
from serving.use_cases.pagination import answered_at, new_id, read_pagination

NOW = datetime(2026, 11, 21, 20, 15, 0, 123_456, tzinfo=UTC)


def logged(id: str, *items: str, at: datetime = NOW, placement: str = "for_you") -> LoggedAnswer:
    return LoggedAnswer(
        recommendation_id=id,
        time=at.timestamp(),
        placement=placement,
        variant="champion",
        model_version="v1",
        item_ids=items,
        sources=["als"] * len(items),
        levels=["individual"] * len(items),
        scores=[1.0] * len(items),
        propensities=[1.0] * len(items),
    )


@pytest.mark.parametrize("microsecond", [0, 1, 999, 1000, 123_456, 999_999])
def test_an_id_tells_its_millisecond_and_is_never_given_twice(microsecond: int) -> None:
    rng = np.random.default_rng(0)
    now = NOW.replace(microsecond=microsecond)
    ids = {new_id(now, rng) for _ in range(1000)}
    assert len(ids) == 1000
    for id in ids:
        moment = answered_at(id)
        assert moment is not None
        assert timedelta(0) <= now - moment < timedelta(milliseconds=1)


@pytest.mark.parametrize("id", ["", "r-", "r-1", "r-" + "g" * 35, "r-" + "0" * 36, "x" * 37])
def test_an_id_of_another_make_tells_nothing(id: str) -> None:
    assert answered_at(id) is None


def test_all_lists_of_the_named_answers_are_found_and_no_others(store: SQLiteStore) -> None:
    rng = np.random.default_rng(1)
    moments = [NOW + timedelta(microseconds=n * 333) for n in range(12)]
    ids = [new_id(moment, rng) for moment in moments]
    store.log_answers(
        [
            answer
            for n, (id, moment) in enumerate(zip(ids, moments, strict=True))
            for answer in (
                logged(id, f"a{n}", f"b{n}", at=moment),
                logged(id, f"c{n}", at=moment, placement="trending"),
            )
        ]
    )
    later = NOW + timedelta(hours=1)
    earlier = asyncio.run(read_pagination(store, [ids[3], ids[9], "r-1"], now=later))
    assert earlier.recommendation_ids == (ids[3], ids[9])
    assert sorted(earlier.item_ids) == ["a3", "a9", "b3", "b9", "c3", "c9"]
    assert not earlier.degraded


class ReadStore(SQLiteStore):
    """A store that signals when its answers have been read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.was_read = threading.Event()

    def answers(self, *, since: datetime, until: datetime) -> list[LoggedAnswer]:
        answers = super().answers(since=since, until=until)
        self.was_read.set()
        return answers


def test_an_answer_that_is_just_being_logged_is_waited_for(tmp_path: Path) -> None:
    store = ReadStore(tmp_path / "read.sqlite")
    id = new_id(NOW, np.random.default_rng(2))

    async def ask() -> tuple[str, ...]:
        reading = asyncio.create_task(read_pagination(store, [id], now=NOW, wait_seconds=30))
        assert await asyncio.to_thread(store.was_read.wait, 60)
        assert not reading.done()
        store.log_answers([logged(id, "a")])
        return (await reading).recommendation_ids

    try:
        assert asyncio.run(ask()) == (id,)
    finally:
        store.close()


def test_an_old_answer_that_is_not_there_is_not_waited_for(store: SQLiteStore) -> None:
    id = new_id(NOW, np.random.default_rng(3))
    later = NOW + timedelta(seconds=10)
    earlier = asyncio.run(read_pagination(store, [id], now=later, wait_seconds=float("inf")))
    assert earlier.recommendation_ids == ()


def test_without_the_store_the_answer_is_degraded(tmp_path: Path) -> None:
    gone = SQLiteStore(tmp_path / "gone.sqlite")
    gone.close()
    id = new_id(NOW, np.random.default_rng(4))
    earlier = asyncio.run(read_pagination(gone, [id], now=NOW))
    assert earlier.degraded
    assert earlier.item_ids == ()
