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

from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Numbers, Vocabulary
from training.benchmark.metrics import TOP_N
from training.benchmark.protocols.files import ItemLists, Numbering, read_item_lists
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    PreparedSet,
    SetSize,
    training_data,
)

VALIDATION_SHARE: Final = 0.1
"""Of each user's train items, at least one of two, drawn at random as the published splits do.

Half of the published test share, because regularisation that suits a sparser graph would then be
fitted to the whole one; on Gowalla both shares rank the settings alike. Gowalla's test items are
not a random share: they hold the twelve most visited places 1.6 times as often as chance would.
No share of the train items shows that.
"""


def prepare(train: Path, test: Path, *, rng: Generator) -> PreparedSet:
    """Test users that train lacks have no history and are answered by popularity alone."""
    numbering = Numbering()
    known, tested = read_item_lists(train, numbering), read_item_lists(test, numbering)
    items = numbering.vocabulary()
    n_users = len(known.users)
    users = np.repeat(np.arange(n_users), np.diff(known.starts)).astype(np.int32)
    validating = validation_part(users, known.starts, rng=rng)
    spans = [slice(*known.starts[user : user + 2]) for user in range(n_users)]
    number_of = {user: number for number, user in enumerate(known.users)}
    return PreparedSet(
        task="top-n",
        validation=_task(
            InteractionTable(users[~validating], known.items[~validating], _times(~validating)),
            known,
            items,
            users=list(range(n_users)),
            truth=[known.items[span][validating[span]] for span in spans],
        ),
        test=_task(
            InteractionTable(users, known.items, _times(np.ones(len(users), np.bool_))),
            known,
            items,
            users=[number_of.get(user, -1) for user in tested.users],
            truth=[np.unique(tested.of(number)) for number in range(len(tested.users))],
        ),
        metrics=TOP_N,
        size=SetSize(
            n_users, len(items), len(users), pairs=int(np.sum(np.diff(known.starts) ** 2))
        ),
        about=f"{len(users):,} train and {len(tested.items):,} test interactions of "
        f"{n_users:,} users on {len(items):,} items",
    )


def validation_part(
    users: Numbers, starts: NDArray[np.int64], *, rng: Generator
) -> NDArray[np.bool_]:
    """Which interactions validate: a random share of each user's; of a single one none."""
    order = np.lexsort((rng.random(len(users)), users))
    positions = np.arange(len(users)) - starts[users]
    sizes = np.diff(starts)
    shares = np.where(sizes > 1, np.maximum(1, np.round(VALIDATION_SHARE * sizes)), 0)
    chosen = np.zeros(len(users), np.bool_)
    chosen[order] = positions < shares[users]
    return chosen


def _times(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The order within a line has no meaning: all interactions lie one day back."""
    return np.full(int(kept.sum()), AS_OF.timestamp() - SECONDS_PER_DAY)


def _task(
    table: InteractionTable,
    known: ItemLists,
    items: Vocabulary,
    *,
    users: list[int],
    truth: list[Numbers],
) -> BenchmarkTask:
    """A query for every user (or −1) with a truth."""
    data = training_data(table, n_users=len(known.users), items=items, kind="purchase")
    rows = [row for row in range(len(users)) if len(truth[row])]
    queries = EvalQueries.of_users(data, np.array([users[row] for row in rows], np.int64))
    return BenchmarkTask(data, queries, [truth[row] for row in rows], queries.distinct_items())
