"""`--task top-n`: users with the items of the past, ranked over all others.

Protocol of LightGCN (He et al., SIGIR 2020): train items are masked, Recall@20 is hits over the
size of the truth, the ideal of NDCG@20 is over min(20, truth), the mean is over test users.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.events.schema import PURCHASE
from recsys.ids import Numbers, Vocabulary
from training.benchmark.measures import TOP_N
from training.benchmark.prepared import Prepared
from training.benchmark.protocols.files import ItemLists, Numbering, read_item_lists
from training.benchmark.spaces import Size
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    training_data,
)

VALIDATION_SHARE: Final = 0.1
"""Of each user's train items, at least one of two, at random as the published splits hold theirs.

Half of their fifth, because ridges and penalties that suit sparser graphs are then fitted to the
whole; on Gowalla both shares put the walks in one order. Gowalla's own test items are no random
share: of the visits to its twelve most visited places it holds 1.6 times what chance would give.
No share of the train items shows that.
"""


def prepare(train: Path, test: Path, *, rng: Generator) -> Prepared:
    """Test users that train lacks have no history and are answered by popularity alone."""
    numbering = Numbering()
    known, asked = read_item_lists(train, numbering), read_item_lists(test, numbering)
    items = numbering.vocabulary()
    users = np.repeat(np.arange(len(known.users)), np.diff(known.starts)).astype(np.int32)
    held = held_out(users, known.starts, rng=rng)
    every = np.ones(len(users), np.bool_)
    number_of = {user: number for number, user in enumerate(known.users)}
    rows = [number_of.get(user, -1) for user in asked.users]
    truth_of_test = [np.unique(asked.of(number)) for number in range(len(rows))]
    return Prepared(
        task="top-n",
        validation=_exam(
            known,
            ~held,
            items,
            list(range(len(known.users))),
            [
                known.of(user)[held[slice(*known.starts[user : user + 2])]]
                for user in range(len(known.users))
            ],
        ),
        test=_exam(known, every, items, rows, truth_of_test),
        rules=TOP_N,
        size=Size(
            len(known.users),
            len(items),
            len(users),
            pairs=int(np.sum(np.diff(known.starts) ** 2)),
        ),
        about=f"{len(users):,} train and {len(asked.items):,} test interactions of "
        f"{len(known.users):,} users on {len(items):,} items",
    )


def held_out(users: Numbers, starts: NDArray[np.int64], *, rng: Generator) -> NDArray[np.bool_]:
    """Which interactions validate: a random share of each user's; of a single one none."""
    order = np.lexsort((rng.random(len(users)), users))
    places = np.arange(len(users)) - starts[users]
    sizes = np.diff(starts)
    shares = np.where(sizes > 1, np.maximum(1, np.round(VALIDATION_SHARE * sizes)), 0)
    held = np.zeros(len(users), np.bool_)
    held[order] = places < shares[users]
    return held


def _exam(
    known: ItemLists,
    kept: NDArray[np.bool_],
    items: Vocabulary,
    rows: list[int],
    truth: list[Numbers],
) -> BenchmarkTask:
    """The kept interactions as data; a question for every row (user or −1) with a truth."""
    n_users = len(known.users)
    users = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(known.starts))[kept]
    numbers = known.items[kept]
    starts = np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64)
    # The order within a line says nothing: all lies a day back, each by itself.
    times = np.full(len(users), AS_OF.timestamp() - 86_400.0)
    each = np.arange(len(users), dtype=np.int64)
    acts = InteractionTable(users, numbers, times, each, users.astype(np.int64))
    asking = [place for place in range(len(rows)) if len(truth[place])]
    who = np.array([rows[place] for place in asking], np.int64)
    begins = np.where(who >= 0, starts[who], 0)
    ends = np.where(who >= 0, starts[who + 1], 0)
    return BenchmarkTask(
        training_data(acts, n_users=n_users, items=items, kind="purchase"),
        EvalQueries(
            numbers,
            times,
            PURCHASE,
            begins,
            ends,
            visits=ends,
            nows=np.full(len(asking), AS_OF.timestamp()),
        ),
        [truth[place] for place in asking],
        [np.unique(numbers[begin:end]) for begin, end in zip(begins, ends, strict=True)],
    )
