"""Queries, training data and excluded items of each protocol, on files whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import InsufficientData
from recsys.ids import Numbers
from training.benchmark.metrics import NEXT_BASKET, TOP_N, means, ndcg_over_all_at_k
from training.benchmark.protocols import leave_one_out, next_basket, session, top_n
from training.benchmark.task_data import BenchmarkTask, WeightedData


def test_top_n_asks_the_test_items_and_hides_the_train_items(tmp_path: Path) -> None:
    task = _top_n(tmp_path, "1 a b c\n2 b c d\n", "1 d e\n2 a\n").test
    assert _ids(task, task.truth) == [{"d", "e"}, {"a"}]
    assert _ids(task, task.excluded) == [{"a", "b", "c"}, {"b", "c", "d"}]
    assert _histories(task) == [{"a", "b", "c"}, {"b", "c", "d"}]


def test_top_n_validates_on_train_items_that_its_data_do_not_hold(tmp_path: Path) -> None:
    prepared = _top_n(tmp_path, "1 a b c d e\n2 b c d\n3 a\n", "1 f\n2 g\n")
    task = prepared.validation
    assert len(task) == 2  # the only item of user 3 is not taken away
    for user, truth, hidden in zip(
        (0, 1), _ids(task, task.truth), _ids(task, task.excluded), strict=True
    ):
        known = task.data.interactions[[user]].indices
        assert not truth & set(task.data.items.ids(known))
        assert truth | hidden == ({*"abcde"}, {*"bcd"})[user]


def test_a_test_user_without_train_items_is_asked_without_a_history(tmp_path: Path) -> None:
    task = _top_n(tmp_path, "1 a b\n", "9 a\n1 c\n").test
    assert _histories(task) == [set(), {"a", "b"}]


def test_the_seed_alone_decides_what_validates(tmp_path: Path) -> None:
    lines = "".join(f"{user} {' '.join(map(str, range(20)))}\n" for user in range(5))

    def held(seed: int) -> list[list[int]]:
        task = _top_n(tmp_path, lines, "1 x\n", seed=seed).validation
        return [truth.tolist() for truth in task.truth]

    assert held(1) == held(1)
    assert held(1) != held(2)


def test_what_validates_is_a_random_tenth_of_each_users_items(tmp_path: Path) -> None:
    text = "".join(f"{user} {' '.join(map(str, range(user, user + 20)))}\n" for user in range(20))
    task = _top_n(tmp_path, text, "1 999\n").validation
    assert {len(truth) for truth in task.truth} == {2}
    places = [
        int(item) - user for user, truth in enumerate(_ids(task, task.truth)) for item in truth
    ]
    assert min(places) < 5
    assert max(places) > 14


def test_recall_is_hits_over_the_truth_and_the_ideal_of_ndcg_is_cut() -> None:
    lists, truth = [_numbers(1, 5, 2)], [_numbers(1, 2, 3, 4)]
    values = means(TOP_N.per_query(lists, truth))
    assert values["recall_at_20"] == pytest.approx(2 / 4)
    discounts = 1 / np.log2(np.arange(2, 8))
    assert values["ndcg_at_20"] == pytest.approx(
        (discounts[0] + discounts[2]) / discounts[:4].sum()
    )


def test_the_two_conventions_of_ndcg_differ_where_the_truth_is_longer_than_the_list() -> None:
    lists, truth = [_numbers(1)], [np.arange(15, dtype=np.int32)]
    values = means(NEXT_BASKET.per_query(lists, truth))
    discounts = 1 / np.log2(np.arange(2, 17))
    assert values["ndcg_at_10"] == pytest.approx(discounts[0] / discounts[:10].sum())
    assert values["ndcg_over_all_at_10"] == pytest.approx(discounts[0] / discounts.sum())
    assert values["phr_at_10"] == 1.0
    assert np.isnan(ndcg_over_all_at_k(lists, [_numbers()], 10)[0])


def test_a_session_grows_click_by_click_and_hides_the_newest_item(tmp_path: Path) -> None:
    task = _session(tmp_path, "1 a 10\n1 b 20\n2 c 30\n2 a 40\n", "7 a 50\n7 b 60\n7 c 70\n").test
    assert _ids(task, task.truth) == [{"b"}, {"c"}]
    assert _ids(task, task.excluded) == [{"a"}, {"b"}]
    queries = task.queries.queries(task.data.weighting)
    assert [task.data.items.ids(query.session.items) for query in queries] == [["a"], ["a", "b"]]
    assert [query.now.timestamp() for query in queries] == [50.0, 60.0]


def test_an_item_that_train_never_saw_is_no_history_and_counts_as_missed(tmp_path: Path) -> None:
    prepared = _session(tmp_path, "1 a 10\n1 b 20\n2 c 30\n2 a 40\n", "7 new 50\n7 a 60\n7 z 70\n")
    task = prepared.test
    assert _histories(task) == [set(), {"a"}]
    assert len(task) == 2
    assert task.data.items.ids(task.truth[1]) == ["z"]
    assert not (task.data.interactions.indices == task.truth[1][0]).any()


def test_without_a_validation_file_the_newest_visits_of_train_validate(tmp_path: Path) -> None:
    clicks = "".join(f"{v} a {v * 10}\n{v} b {v * 10 + 1}\n" for v in range(5))
    task = _session(tmp_path, clicks, "9 a 100\n9 b 101\n", valid=None).validation
    assert len(task) == 1
    assert task.data.interactions.shape[0] == 4
    assert task.data.timeline.times.max() < task.queries.nows[0]


def test_next_basket_reports_on_none_of_those_it_tunes_on(tmp_path: Path) -> None:
    prepared = _next_basket(tmp_path)
    tuned, reported = (
        {int(start) for start in task.queries.begins}
        for task in (prepared.validation, prepared.test)
    )
    assert len(tuned) == 10
    assert len(reported) == 10
    assert not tuned & reported


def test_next_basket_knows_every_history_and_no_future(tmp_path: Path) -> None:
    prepared = _next_basket(tmp_path)
    data = prepared.test.data
    assert data.interactions.shape[0] == 20
    assert data.baskets.matrix.shape[0] == 40
    future = data.items.number("f")
    assert not (data.timeline.items == future).any()
    assert all(future in truth for truth in prepared.test.truth)


def test_the_current_visit_of_next_basket_is_the_newest_basket(tmp_path: Path) -> None:
    task = _next_basket(tmp_path).test
    query = task.queries.queries(task.data.weighting)[0]
    assert set(task.data.items.ids(query.session.items)) == {"b", "c"}
    assert set(task.data.items.ids(query.history.items)) == {"a", "b", "c"}
    ages = task.data.as_of.timestamp() - query.history.times
    assert sorted(ages / 86_400) == [1, 1, 2, 2]


def test_next_basket_needs_customers_with_past_and_future(tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text(json.dumps({"1": [["a"]]}))
    (tmp_path / "f.json").write_text(json.dumps({"2": [["a"]]}))
    with pytest.raises(InsufficientData, match="0 customers have both"):
        next_basket.prepare(tmp_path / "h.json", tmp_path / "f.json", rng=np.random.default_rng(0))


def test_leave_one_out_asks_the_last_item_and_validates_on_the_one_before(tmp_path: Path) -> None:
    prepared = _leave_one_out(tmp_path, "1 a b c d\n2 b c e\n3 a b\n")
    test, validation = prepared.test, prepared.validation
    assert _ids(test, test.truth) == [{"d"}, {"e"}]
    assert _ids(validation, validation.truth) == [{"c"}, {"c"}]
    assert test.data.interactions.sum() == 3 + 2 + 2
    assert validation.data.interactions.sum() == 2 + 1 + 2
    assert _histories(test) == [{"a", "b", "c"}, {"b", "c"}]
    assert _histories(validation) == [{"a", "b"}, {"b"}]


def test_where_nobody_comes_back_to_an_item_the_past_is_hidden(tmp_path: Path) -> None:
    fresh = _leave_one_out(tmp_path, "1 a b c d\n2 b c e\n").test
    again = _leave_one_out(tmp_path, "1 a b a b\n2 b c b\n").test
    assert _ids(fresh, fresh.excluded) == [{"a", "b", "c"}, {"b", "c"}]
    assert _ids(again, again.excluded) == [set(), set()]


def test_attributes_describe_the_items(tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.json"
    attributes.write_text(json.dumps({"a": [1, "x y"], "b": ["x y"], "unknown": [2]}))
    (tmp_path / "s.txt").write_text("1 a b c d\n")
    prepared = leave_one_out.prepare(tmp_path / "s.txt", attributes)
    titles = {item.item_id: set(item.title.split()) for item in prepared.test.data.catalog.items}
    assert len(titles["a"]) == 2
    assert titles["b"] < titles["a"]
    assert titles["c"] == set()
    assert prepared.size.attributes


def test_a_half_life_of_acts_weighs_the_newest_most(tmp_path: Path) -> None:
    data = _leave_one_out(tmp_path, "1 a b c d\n").test.data
    weighed = WeightedData(data).at(1.0)
    row = dict(
        zip(data.items.ids(weighed.interactions.indices), weighed.interactions.data, strict=True)
    )
    assert row["c"] == pytest.approx(0.5)
    assert row["b"] == pytest.approx(0.25)
    assert weighed.weighting.half_life_days == 1.0


def _top_n(folder: Path, train: str, test: str, *, seed: int = 3):  # type: ignore[no-untyped-def]
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)
    return top_n.prepare(folder / "train.txt", folder / "test.txt", rng=np.random.default_rng(seed))


def _session(folder: Path, train: str, test: str, valid: str | None = ""):  # type: ignore[no-untyped-def]
    files = {"train": train, "test": test, "valid": test if valid == "" else valid}
    for name, text in files.items():
        if text is not None:
            (folder / f"{name}.txt").write_text(
                "SessionId\tItemId\tTime\n" + text.replace(" ", "\t")
            )
    return session.prepare(
        folder / "train.txt",
        None if valid is None else folder / "valid.txt",
        folder / "test.txt",
    )


def _next_basket(folder: Path):  # type: ignore[no-untyped-def]
    history = {str(user): [[-1], ["a", "b"], ["b", "c"], [-1]] for user in range(20)}
    future = {str(user): [[-1], ["a", "f"], [-1]] for user in range(20)}
    (folder / "h.json").write_text(json.dumps(history))
    (folder / "f.json").write_text(json.dumps({**future, "stranger": [["a"]]}))
    return next_basket.prepare(folder / "h.json", folder / "f.json", rng=np.random.default_rng(5))


def _leave_one_out(folder: Path, text: str):  # type: ignore[no-untyped-def]
    (folder / "s.txt").write_text(text)
    return leave_one_out.prepare(folder / "s.txt", None)


def _ids(task: BenchmarkTask, lists: list[Numbers]) -> list[set[str]]:
    return [set(task.data.items.ids(numbers)) for numbers in lists]


def _histories(task: BenchmarkTask) -> list[set[str]]:
    queries = task.queries.queries(task.data.weighting)
    return [set(task.data.items.ids(query.history.items)) for query in queries]


def _numbers(*numbers: int) -> Numbers:
    return np.array(numbers, np.int32)
