"""The ranker's trees are LightGBM's, its order is served, and what it was not taught stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle, save_bundle
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.query.query import Query
from recsys.ranking.features import COLUMNS, ItemFacts, item_facts
from recsys.ranking.ranker import Ranker, Trees, column_names, ranking_matrix
from recsys.recommend.candidates import BlendedCandidates, Candidates, ranked
from recsys.recommend.operations import recommend

MODELS = ("repeat", "popularity")
Grow = Callable[..., str]


def grown(matrix: np.ndarray, taken: np.ndarray, **settings: object) -> lightgbm.Booster:
    """LightGBM's trees over groups of 20 rows."""
    rows = lightgbm.Dataset(matrix, label=taken, group=[20] * (len(matrix) // 20))
    plain = {
        "objective": "lambdarank", "num_leaves": 8, "min_data_in_leaf": 5, "num_threads": 1,
        "verbose": -1, "deterministic": True,
    }  # fmt: skip
    return lightgbm.train({**plain, **settings}, rows, num_boost_round=12)


def ranker_for(column: str, *, models: tuple[str, ...] = MODELS, descending: bool = True) -> Ranker:
    """A ranker that orders by one column alone."""
    names = column_names(models)
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(2000, len(names))).astype(np.float32)
    column_number = names.index(column)
    matrix[:, column_number] = rng.uniform(0, 1, 2000) ** 3
    taken = (matrix[:, column_number] > 0.2) == descending
    booster = grown(matrix, taken.astype(int))
    text = booster.model_to_string()
    for number, name in enumerate(names):
        text = text.replace(f"Column_{number} ", f"{name.replace(' ', '_')} ")
    text = text.replace(f"Column_{len(names) - 1}\n", f"{names[-1].replace(' ', '_')}\n")
    return Ranker.of([text], [1.0], models=models, candidates=300, facts=ItemFacts.empty())


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_trees_score_as_lightgbm_does(objective: str, missing: float) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(2000, 6)).astype(np.float32)
    matrix[:, 3] = np.round(matrix[:, 3])
    taken = (matrix[:, 0] + matrix[:, 3] + rng.normal(size=2000) > 1).astype(int)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    booster = grown(matrix, taken, objective=objective)
    asked = rng.normal(size=(500, 6)).astype(np.float32)
    asked[:, 3] = np.round(asked[:, 3])
    asked[rng.random(asked.shape) < 0.2] = np.nan
    trees = Trees.parse(booster.model_to_string())
    np.testing.assert_allclose(trees.predict(asked), booster.predict(asked), rtol=1e-12, atol=1e-12)
    gains = booster.feature_importance("gain")
    np.testing.assert_allclose(trees.gains(), gains, rtol=1e-4, atol=1e-3)


def test_several_models_add_up_each_over_its_scale() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(2000, 6)).astype(np.float32)
    taken = (matrix[:, 0] + rng.normal(size=2000) > 1).astype(int)
    first, second = (grown(matrix, taken, objective=o) for o in ("lambdarank", "rank_xendcg"))
    parts = [
        Trees.parse(first.model_to_string()).divided_by(2.0),
        Trees.parse(second.model_to_string()).divided_by(0.5),
    ]
    expected = first.predict(matrix) / 2.0 + second.predict(matrix) / 0.5
    np.testing.assert_allclose(Trees.joined(parts).predict(matrix), expected, rtol=1e-9, atol=1e-9)


def test_a_tree_without_a_split_is_a_constant() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(200, 2)).astype(np.float32)
    booster = grown(matrix, np.arange(200) % 2, min_data_in_leaf=500)
    scores = Trees.parse(booster.model_to_string()).predict(matrix)
    np.testing.assert_allclose(scores, booster.predict(matrix), atol=1e-12)
    assert len(np.unique(scores)) == 1


def test_what_is_not_evaluated_here_is_refused() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.integers(0, 5, size=(400, 3)).astype(np.float32)
    taken = (matrix[:, 0] == 2).astype(int)
    rows = lightgbm.Dataset(matrix, label=taken, categorical_feature=[0])
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    text = lightgbm.train(settings, rows, 3).model_to_string()
    with pytest.raises(BundleError, match="categorical"):
        Trees.parse(text)


def test_a_damaged_text_is_refused() -> None:
    text = ranker_for("purchases").texts[0]
    with pytest.raises(BundleError, match="damaged"):
        Trees.parse(text.replace("leaf_value=", "leaf="))


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        ranker_for("purchases").trees.predict(np.zeros((3, 2), np.float32))


def test_a_ranker_of_other_columns_is_refused() -> None:
    texts = ranker_for("purchases").texts
    with pytest.raises(BundleError, match="train again"):
        Ranker.of(texts, [1.0], models=("repeat", "als"), candidates=10, facts=ItemFacts.empty())


def test_the_matrix_has_a_column_per_name(small_data: TrainingData) -> None:
    facts = item_facts(small_data)
    queries = small_data.queries(list(small_data.users)[:2], now=small_data.as_of)
    numbers = [np.arange(5, dtype=np.int32), np.arange(3, dtype=np.int32)]
    parts = [np.full((2, 5), 0.25, np.float32), np.full((2, 3), 0.5, np.float32)]
    sums = [np.linspace(0, 1, 5, dtype=np.float32), np.zeros(3, np.float32)]
    matrix = ranking_matrix(facts, queries, numbers, parts, sums)
    names = column_names(MODELS)
    assert matrix.shape == (8, len(names))
    assert names[: len(COLUMNS)] == list(COLUMNS)
    assert matrix[:5, names.index("score of blend")].tolist() == sums[0].tolist()
    assert matrix[:, names.index("score of repeat")].tolist() == [0.25] * 5 + [0.5] * 3


def test_the_ranker_deals_out_the_sums_of_the_blend_in_its_own_order(
    small_data: TrainingData,
) -> None:
    ranker = replace(ranker_for("score of popularity"), facts=item_facts(small_data))
    numbers = np.array([2, 4, 7], np.int32)
    parts = np.array([[0.9, 0.5, 0.1], [0.0, 0.1, 0.9]], np.float32)
    weights = np.array([1.0, 0.1], np.float32)
    blended_candidates = BlendedCandidates(Candidates(numbers, parts), weights @ parts)
    query = Query(now=small_data.as_of)
    (row,) = ranked(ranker, [query], [blended_candidates], weights)
    assert row.scores.argmax() == 2
    np.testing.assert_allclose(np.sort(row.scores), np.sort(weights @ parts), rtol=1e-4)


def test_a_model_that_the_ranker_was_not_taught_with_is_added_as_ever(
    small_data: TrainingData,
) -> None:
    ranker = replace(ranker_for("score of popularity"), facts=item_facts(small_data))
    numbers = np.array([2, 4, 7], np.int32)
    silent = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.9], [0.0, 0.0, 0.0]], np.float32)
    visit = silent.copy()
    visit[2, 1] = 0.9
    weights = np.array([0.5, 0.1, 0.4], np.float32)
    query = Query(now=small_data.as_of)

    def best(parts: np.ndarray) -> int:
        blended_candidates = BlendedCandidates(Candidates(numbers, parts), weights @ parts)
        (row,) = ranked(ranker, [query, *[]], [blended_candidates], weights)
        return int(row.candidates.numbers[row.scores.argmax()])

    assert best(silent) == 7
    assert best(visit) == 4


@pytest.fixture(scope="module")
def ranked_bundle(bundle: Bundle, small_data: TrainingData) -> Bundle:
    """The small shop's bundle whose list is ordered by demand."""
    placement = bundle.placements["for_you"].model_copy(update={"repeats": "allow"})
    placement = placement.with_blend({"repeat": 1.0, "popularity": 0.5})
    ranker = replace(ranker_for("score of popularity"), facts=item_facts(small_data))
    used = ("repeat", "popularity", "popularity_by_country")
    return replace(
        bundle,
        models={name: bundle.models[name] for name in used},
        placements={"for_you": placement},
        rankers={"for_you": ranker},
    )


def asked(bundle: Bundle, queries: list[Query]) -> list[list[int]]:
    answers = recommend(
        bundle, queries, bundle.placements["for_you"], LiveCatalog.of(bundle.catalog), 10
    )
    return [answer.numbers.tolist() for answer in answers]


def test_the_ranker_changes_the_order_and_each_item_has_a_source(
    ranked_bundle: Bundle, small_data: TrainingData
) -> None:
    queries = small_data.queries(list(small_data.users)[:20], now=small_data.as_of)
    assert asked(ranked_bundle, queries) != asked(replace(ranked_bundle, rankers={}), queries)
    placement = ranked_bundle.placements["for_you"]
    for answer in recommend(
        ranked_bundle, queries, placement, LiveCatalog.of(ranked_bundle.catalog), 10, explain=True
    ):
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)
        assert {item.source for item in answer.items} <= {"repeat", "popularity"}
        # The source is a model with an opinion on the item, so that it can say why.
        assert all(item.why for item in answer.items if item.score > 0)


def test_a_batch_gives_what_its_single_queries_give(
    ranked_bundle: Bundle, small_data: TrainingData
) -> None:
    queries = small_data.queries(list(small_data.users)[:12], now=small_data.as_of)
    queries.append(Query(now=small_data.as_of))
    together = asked(ranked_bundle, queries)
    assert together == [asked(ranked_bundle, [query])[0] for query in queries]


def test_saved_and_loaded_it_gives_identical_answers(
    ranked_bundle: Bundle, small_data: TrainingData, tmp_path: Path
) -> None:
    loaded = load_bundle(save_bundle(ranked_bundle, tmp_path / "v1"))
    queries = small_data.queries(list(small_data.users)[:12], now=small_data.as_of)
    assert asked(loaded, queries) == asked(ranked_bundle, queries)
    assert loaded.rankers["for_you"].texts == ranked_bundle.rankers["for_you"].texts


def test_a_ranker_whose_models_are_missing_is_refused(
    ranked_bundle: Bundle, tmp_path: Path
) -> None:
    models = {name: model for name, model in ranked_bundle.models.items() if name != "repeat"}
    directory = save_bundle(replace(ranked_bundle, models=models), tmp_path / "v1")
    with pytest.raises(BundleError, match="repeat"):
        load_bundle(directory)
