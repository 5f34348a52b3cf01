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
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Vocabulary
from training.benchmark.measures import LEAVE_ONE_OUT
from training.benchmark.prepared import Prepared
from training.benchmark.protocols.files import (
    ItemLists,
    Numbering,
    read_attributes,
    read_item_lists,
)
from training.benchmark.spaces import Size
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    no_hidden,
    training_data,
)

REPEATS: Final = 0.01
"""Where fewer validation items than this share were in the user's past, the past is hidden."""


def prepare(sequences: Path, attributes: Path | None) -> Prepared:
    """Users with fewer than three items teach but are not asked."""
    numbering = Numbering()
    known = read_item_lists(sequences, numbering)
    items = numbering.vocabulary()
    described = [] if attributes is None else _described(items, read_attributes(attributes))
    lengths = np.diff(known.starts)
    asked = np.flatnonzero(lengths >= 3)
    if not len(asked):
        raise InsufficientData(f"No sequence in {sequences} has three items or more.")
    before, last = known.starts[asked + 1] - 2, known.starts[asked + 1] - 1
    repeated = np.mean(
        [
            known.items[end] in known.items[begin:end]
            for begin, end in zip(known.starts[asked].tolist(), before.tolist(), strict=True)
        ]
    )
    hide = bool(repeated < REPEATS)
    return Prepared(
        task="leave-one-out",
        validation=_exam(known, asked, before, items, described, hide=hide),
        test=_exam(known, asked, last, items, described, hide=hide),
        rules=LEAVE_ONE_OUT,
        size=Size(len(known.users), len(items), len(known.items), bool(described)),
        about=f"{len(known.items):,} acts of {len(known.users):,} users on {len(items):,} items"
        + (", items of the past hidden" if hide else ""),
    )


def _exam(
    known: ItemLists,
    asked: NDArray[np.intp],
    ends: NDArray[np.int64],
    items: Vocabulary,
    described: list[Item],
    *,
    hide: bool,
) -> BenchmarkTask:
    """Everything before `ends` teaches, at `ends` stands the truth of each asked user."""
    cut = known.starts[1:].copy()
    cut[asked] = ends
    users = np.repeat(np.arange(len(known.users), dtype=np.int32), np.diff(known.starts))
    places = np.arange(len(known.items))
    kept = places < cut[users]
    users, numbers = users[kept], known.items[kept]
    # The newest act of everybody is one day old, the one before it two days, and so on.
    times = AS_OF.timestamp() - SECONDS_PER_DAY * (cut[users] - places[kept]).astype(np.float64)
    each = np.arange(len(users), dtype=np.int64)
    acts = InteractionTable(users, numbers, times, each, users.astype(np.int64))
    data = training_data(
        acts, n_users=len(known.users), items=items, kind="purchase", described=described
    )
    starts = data.timeline.starts
    return BenchmarkTask(
        data,
        EvalQueries(
            numbers,
            times,
            PURCHASE,
            starts[asked],
            starts[asked + 1],
            visits=starts[asked],
            nows=np.full(len(asked), AS_OF.timestamp()),
        ),
        [known.items[end : end + 1] for end in ends.tolist()],
        [
            np.unique(numbers[begin:end])
            for begin, end in zip(starts[asked].tolist(), starts[asked + 1].tolist(), strict=True)
        ]
        if hide
        else no_hidden(len(asked)),
    )


def _described(items: Vocabulary, attributes: dict[str, list[str]]) -> list[Item]:
    """Attributes as words of a title: rare ones tell more, and no order is implied."""
    names = Numbering()
    return [
        Item(item_id=id, title=" ".join(f"a{names.number(name)}" for name in attributes[id]))
        for id in items
        if attributes.get(id)
    ]
