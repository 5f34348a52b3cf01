"""Figures published on the public data sets, reproduced by the product's own code."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog
from recsys.dataset.event_tables import Baskets, Popularity, Timeline
from recsys.dataset.training_data import TrainingData
from recsys.evaluation.metrics import ndcg_at_k, recall_at_k
from recsys.events.schema import PURCHASE
from recsys.events.weighting import Weighting
from recsys.ids import Numbers, Vocabulary
from recsys.models.baskets.association_rules import association_rules
from recsys.models.item_to_item.random_walk import RandomWalkConfig, fit_random_walk
from recsys.models.protocol import Model
from recsys.models.scoring.top_n import top_n_of
from recsys.query.history import History
from recsys.query.profile import UNKNOWN
from recsys.query.query import Query

AS_OF = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def gowalla(shared_data: Path) -> tuple[TrainingData, list[Numbers]]:
    """The LightGCN split: training data, and the test items per user."""
    train = _lists(shared_data / "gowalla" / "train.txt.gz")
    test = _lists(shared_data / "gowalla" / "test.txt.gz")
    n_items = 1 + max(int(items.max()) for items in [*train, *test] if len(items))
    starts = np.concatenate([[0], np.cumsum([len(items) for items in train])])
    items = np.concatenate(train)
    users = np.repeat(np.arange(len(train), dtype=np.int32), np.diff(starts))
    ones = np.ones(len(items), np.float32)
    matrix = csr_array((ones, (users, items)), shape=(len(train), n_items))
    vocabulary = Vocabulary([str(number) for number in range(n_items)])
    zeros = np.zeros(len(items))
    nothing = np.empty(0, np.int32)
    data = TrainingData(
        as_of=AS_OF,
        users=Vocabulary([f"u:{number}" for number in range(len(train))]),
        items=vocabulary,
        interactions=matrix,
        timeline=Timeline(
            starts.astype(np.int64),
            users,
            items,
            np.full(len(items), PURCHASE, np.int8),
            zeros,
            users.astype(np.int64),
        ),
        baskets=Baskets(csr_array((0, n_items)), nothing, np.empty(0)),
        popularity=Popularity(
            nothing, nothing.astype(np.int8), np.empty(0), nothing, np.empty(0), Vocabulary([])
        ),
        catalog=Catalog.of([], vocabulary),
        profiles=(UNKNOWN,) * len(train),
        weighting=Weighting(kind_weights={"purchase": 1.0}),
    )
    return data, test


@pytest.mark.parametrize(
    ("config", "recall", "ndcg"),
    [
        (RandomWalkConfig(neighbours=None, beta=0.0), (0.1857, 0.1867), (0.1558, 0.1568)),
        (RandomWalkConfig(neighbours=100, beta=0.1), (0.184, 1.0), (0.152, 1.0)),
    ],
    ids=["P3", "RP3beta pruned to 100"],
)
def test_the_random_walk_reaches_its_published_figures_on_gowalla(
    gowalla: tuple[TrainingData, list[Numbers]],
    config: RandomWalkConfig,
    recall: tuple[float, float],
    ndcg: tuple[float, float],
) -> None:
    data, test = gowalla
    recommended = _recommended(fit_random_walk(data, config, rng=np.random.default_rng(0)), data)
    assert recall[0] <= np.nanmean(recall_at_k(recommended, test, 20)) <= recall[1]
    assert ndcg[0] <= np.nanmean(ndcg_at_k(recommended, test, 20)) <= ndcg[1]


def test_the_rules_of_groceries_come_out_to_six_digits(shared_data: Path) -> None:
    with gzip.open(shared_data / "groceries" / "groceries.csv.gz", "rt") as file:
        baskets = [line.strip().split(",") for line in file]
    names = Vocabulary.of(name for basket in baskets for name in basket)
    rows = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
    numbers = names.numbers([name for basket in baskets for name in basket])
    matrix = csr_array(
        (np.ones(len(rows), np.float32), (rows, numbers)), shape=(len(baskets), len(names))
    )
    anonymous = np.full(len(baskets), -1, np.int32)
    rules = association_rules(Baskets(matrix, anonymous, np.zeros(len(baskets))))
    strong = rules.where((rules.support >= 0.006) & (rules.confidence >= 0.25))
    assert len(strong) == 150
    for antecedent, consequent, figures in (
        ("herbs", "root vegetables", (0.00701576, 0.43125, 3.956477)),
        ("berries", "whipped/sour cream", (0.009049314, 0.2721713, 3.796886)),
    ):
        rule = rules.where(
            (rules.antecedents == names.number(antecedent))
            & (rules.consequents == names.number(consequent))
        )
        measured = (rule.support[0], rule.confidence[0], rule.lift[0])
        assert measured == pytest.approx(figures, rel=1e-6)
        assert rule.customers[0] == round(figures[0] * len(baskets))


def _lists(path: Path) -> list[Numbers]:
    """Items per user; the lines stand in the order of the user numbers."""
    with gzip.open(path, "rt") as file:
        lines = [np.array(line.split(), np.int32) for line in file]
    assert [int(line[0]) for line in lines] == list(range(len(lines)))
    return [line[1:] for line in lines]


def _recommended(model: Model, data: TrainingData) -> list[Numbers]:
    """The best 20 per user that are not in the user's training items."""
    matrix = data.interactions
    everything = np.ones(len(data.items), np.bool_)
    lengths = np.diff(matrix.indptr)
    by_length = np.argsort(lengths)  # so that few need a long list before the exclusion
    recommended: dict[int, Numbers] = {}
    for first in range(0, len(by_length), 2000):
        users = by_length[first : first + 2000].tolist()
        seen = [matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]] for user in users]
        queries = [Query(now=AS_OF, history=_history(items)) for items in seen]
        lists = model.condition(queries).retrieve(20 + max(map(len, seen)), everything)
        for user, items, best in zip(users, seen, lists, strict=True):
            recommended[user] = top_n_of(best.numbers, best.scores, 20, exclude=items).numbers
    return [recommended[user] for user in range(len(by_length))]


def _history(items: Numbers) -> History:
    n = len(items)
    return History(
        items.astype(np.int32), np.full(n, PURCHASE, np.int8), np.zeros(n), np.ones(n, np.float32)
    )
