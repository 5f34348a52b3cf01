"""Candidates: what one person gets does not depend on who asks beside them."""

from __future__ import annotations

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.dataset.training_data import TrainingData
from recsys.ids import NONE
from recsys.recommend.candidates import condition, gather

NAMES = ("repeat", "random_walk", "als", "popularity")


def test_what_is_hidden_for_one_person_changes_nothing_for_another(
    bundle: Bundle, small_data: TrainingData
) -> None:
    queries = data_queries(small_data)
    hidden = [query.history.distinct() for query in queries]
    assert len({len(items) for items in hidden}) > 1
    eligible = np.ones(len(bundle.items), np.bool_)
    together = gather(condition(bundle, queries, NAMES), 10, eligible, hidden)
    for query, items, found in zip(queries, hidden, together, strict=True):
        (alone,) = gather(condition(bundle, [query], NAMES), 10, eligible, [items])
        np.testing.assert_array_equal(found.numbers, alone.numbers)
        np.testing.assert_allclose(found.parts, alone.parts, rtol=1e-5, atol=1e-7)


def test_a_candidate_scores_the_same_whatever_is_hidden(
    bundle: Bundle, small_data: TrainingData
) -> None:
    queries = data_queries(small_data)
    eligible = np.ones(len(bundle.items), np.bool_)
    scorers = condition(bundle, queries, NAMES)
    open_to_all = gather(scorers, 10, eligible, [NONE] * len(queries))
    hidden = [found.numbers[::2] for found in open_to_all]
    for whole, rest in zip(open_to_all, gather(scorers, 10, eligible, hidden), strict=True):
        shared = np.isin(rest.numbers, whole.numbers)
        kept = np.isin(whole.numbers, rest.numbers)
        assert shared.any()
        np.testing.assert_allclose(rest.parts[:, shared], whole.parts[:, kept], rtol=1e-5)


def data_queries(data: TrainingData):
    return data.queries(data.users.ids()[:20], now=data.as_of)
