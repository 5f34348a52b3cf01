"""Candidates: what one person gets does not depend on who asks beside them."""

from __future__ import annotations

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.dataset.training_data import TrainingData
from recsys.ids import NONE
from recsys.recommend.candidates import condition, gather

NAMES = ("repeat", "random_walk", "als", "popularity")


def test_what_is_excluded_for_one_person_changes_nothing_for_another(
    bundle: Bundle, small_data: TrainingData
) -> None:
    queries = data_queries(small_data)
    excluded = [query.history.distinct() for query in queries]
    assert len({len(items) for items in excluded}) > 1
    eligible = np.ones(len(bundle.items), np.bool_)
    together = gather(condition(bundle, queries, NAMES), 10, eligible, excluded)
    for query, items, row in zip(queries, excluded, together, strict=True):
        (alone,) = gather(condition(bundle, [query], NAMES), 10, eligible, [items])
        np.testing.assert_array_equal(row.numbers, alone.numbers)
        np.testing.assert_allclose(row.parts, alone.parts, rtol=1e-5, atol=1e-7)


def test_a_candidate_scores_the_same_whatever_is_excluded(
    bundle: Bundle, small_data: TrainingData
) -> None:
    queries = data_queries(small_data)
    eligible = np.ones(len(bundle.items), np.bool_)
    scorers = condition(bundle, queries, NAMES)
    open_to_all = gather(scorers, 10, eligible, [NONE] * len(queries))
    excluded = [row.numbers[::2] for row in open_to_all]
    for whole, rest in zip(open_to_all, gather(scorers, 10, eligible, excluded), strict=True):
        shared = np.isin(rest.numbers, whole.numbers)
        kept = np.isin(whole.numbers, rest.numbers)
        assert shared.any()
        np.testing.assert_allclose(rest.parts[:, shared], whole.parts[:, kept], rtol=1e-5)


def data_queries(data: TrainingData):
    return data.queries(data.users.ids()[:20], now=data.as_of)
