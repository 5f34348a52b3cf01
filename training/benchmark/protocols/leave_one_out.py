"""`--task leave-one-out`: the last item of every user's sequence, ranked among all items.

Protocol of SASRec and its followers (Kang, McAuley, ICDM 2018), without sampled negatives: the item
before the last one validates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.catalog.items import Item
from recsys.errors import InsufficientData
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Vocabulary
from training.benchmark.metrics import LEAVE_ONE_OUT
from training.benchmark.protocols.files import (
    ItemLists,
    Numbering,
    read_attributes,
    read_item_lists,
)
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    PreparedSet,
    SetSize,
    training_data,
)

REPEATS: Final = 0.01
"""Where fewer validation items than this share were in the user's past, the past is excluded."""


def prepare(sequences: Path, attributes: Path | None) -> PreparedSet:
    """Users with fewer than three items are training data only."""
    numbering = Numbering()
    known = read_item_lists(sequences, numbering)
    items = numbering.vocabulary()
    described = [] if attributes is None else _described(items, read_attributes(attributes))
    queried = np.flatnonzero(np.diff(known.starts) >= 3)
    if not len(queried):
        raise InsufficientData(f"No sequence in {sequences} has three items or more.")
    last = known.starts[queried + 1] - 1
    repeated = np.mean(
        [
            known.items[end] in known.items[begin:end]
            for begin, end in zip(known.starts[queried].tolist(), (last - 1).tolist(), strict=True)
        ]
    )
    exclude = bool(repeated < REPEATS)
    return PreparedSet(
        task="leave-one-out",
        validation=_task(known, queried, last - 1, items, described, exclude=exclude),
        test=_task(known, queried, last, items, described, exclude=exclude),
        metrics=LEAVE_ONE_OUT,
        size=SetSize(len(known.users), len(items), len(known.items), bool(described)),
        about=f"{len(known.items):,} interactions of {len(known.users):,} users on "
        f"{len(items):,} items" + (", items of the past excluded" if exclude else ""),
    )


def _task(
    known: ItemLists,
    queried: NDArray[np.intp],
    ends: NDArray[np.int64],
    items: Vocabulary,
    described: list[Item],
    *,
    exclude: bool,
) -> BenchmarkTask:
    """All before `ends` is training data; at `ends` stands the truth of each queried user."""
    cut = known.starts[1:].copy()
    cut[queried] = ends
    users = np.repeat(np.arange(len(known.users), dtype=np.int32), np.diff(known.starts))
    positions = np.arange(len(known.items))
    kept = positions < cut[users]
    # Everybody's newest interaction is one day old, the one before it two days, and so on.
    ages = (cut[users] - positions)[kept].astype(np.float64)
    data = training_data(
        InteractionTable(
            users[kept], known.items[kept], AS_OF.timestamp() - SECONDS_PER_DAY * ages
        ),
        n_users=len(known.users),
        items=items,
        kind="purchase",
        described=described,
    )
    queries = EvalQueries.of_users(data, queried, visits=data.timeline.starts[queried])
    return BenchmarkTask(
        data,
        queries,
        [known.items[end : end + 1] for end in ends.tolist()],
        queries.distinct_items() if exclude else [NONE] * len(queried),
    )


def _described(items: Vocabulary, attributes: dict[str, list[str]]) -> list[Item]:
    """Attributes as the terms of a title, so that rare ones weigh more and none comes first."""
    names = Numbering()
    return [
        Item(item_id=id, title=" ".join(f"a{names.number(name)}" for name in attributes[id]))
        for id in items
        if attributes.get(id)
    ]
