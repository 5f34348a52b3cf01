"""Frames in, frames out: what is answered from Python is what the operations answer."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Publication, Variant, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.splitting import hold_out
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError, InvalidInput, LeakFromFuture
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.report import EvaluationRules
from recsys.recommend.operations import recommend
from recsys.recommender import Recommender, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shop(bundle: Bundle, small_data: TrainingData) -> Recommender:
    return Recommender(bundle, small_data)


def lists(frame: pd.DataFrame) -> list[list[str]]:
    return frame["item_ids"].tolist()


def test_a_customer_gets_what_the_service_would_answer(
    shop: Recommender, bundle: Bundle, small_data: TrainingData
) -> None:
    customers = [person[2:] for person in small_data.users if person.startswith("u:")][:20]
    answers = shop.recommend(pd.DataFrame({"user_id": customers}, index=range(100, 120)), n=10)
    assert answers.index.tolist() == list(range(100, 120))
    queries = small_data.queries(
        [f"u:{id}" for id in customers], now=small_data.as_of, settings=bundle.query_settings()
    )
    wanted = recommend(
        bundle, queries, bundle.placements["for_you"], LiveCatalog.of(bundle.catalog), 10
    )
    assert lists(answers) == [bundle.items.ids(answer.numbers) for answer in wanted]


def test_a_given_history_counts_by_its_kinds_and_times(shop: Recommender, bundle: Bundle) -> None:
    old, new = bundle.items.id(3), bundle.items.id(40)
    moment = shop.as_of
    times = [moment - timedelta(days=300), moment - timedelta(minutes=5)]

    def answer(**columns: Any) -> list[str]:
        row = {"history": [old, new], **columns}
        return lists(shop.recommend(pd.DataFrame([row]), n=10))[0]

    looked = answer(kinds=["view_item", "view_item"], times=times)
    assert looked != answer()
    assert looked != answer(kinds=["purchase", "view_item"], times=times)
    assert looked == answer(
        kinds=["view_item", "view_item"], times=[time.isoformat() for time in times]
    )


def test_events_after_the_moment_of_asking_are_not_used(shop: Recommender, bundle: Bundle) -> None:
    early = shop.as_of - timedelta(days=30)
    row = {"history": [bundle.items.id(3)], "times": [shop.as_of], "kinds": ["view_item"]}
    nobody = shop.recommend(pd.DataFrame([{"country": None}]), n=5, as_of=early)
    assert lists(shop.recommend(pd.DataFrame([row]), n=5, as_of=early)) == lists(nobody)


def test_rows_may_ask_for_their_own_length_and_placement(shop: Recommender, bundle: Bundle) -> None:
    asked = pd.DataFrame(
        [{"k": 3}, {"placement": "similar", "seeds": [bundle.items.id(0)]}, {}],
    )
    answers = shop.recommend(asked, n=7)
    assert [len(ids) for ids in lists(answers)] == [3, 7, 7]
    assert bundle.items.id(0) not in lists(answers)[1]


def test_an_unknown_person_is_a_stranger(shop: Recommender) -> None:
    asked = pd.DataFrame({"user_id": ["nobody-knows"], "anonymous_id": [None]})
    assert len(lists(shop.recommend(asked, n=5))[0]) == 5


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"histroy": ["a"]}, "questions column is 'histroy'; do you mean history"),
        ({"history": "a"}, "questions column 'history' of row 0 is 'a'; give a list"),
        ({"history": ["a"], "kinds": ["bought"]}, "column 'kinds' of row 0 is 'bought'; use"),
        ({"history": ["a"], "kinds": ["purchase"] * 2}, "one for each of the 1 items"),
        ({"history": ["a"], "times": ["noon"]}, "column 'times' of row 0 is 'noon'"),
        ({"history": ["a"], "times": ["2026-01-01T10:00"]}, "times with a zone"),
        ({"history": ["a"], "user_id": "u"}, "a person or a history, not both"),
        ({"k": 0}, "column 'k' of row 0 is 0; give a whole number"),
        ({"k": 2.5}, "column 'k' of row 0 is 2.5"),
        ({"placement": "homepage"}, "placement is 'homepage'; this version has"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_its_column(
    shop: Recommender, question: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        shop.recommend(pd.DataFrame([question]))


def test_evaluate_gives_the_figures_of_the_nightly_report(
    shop: Recommender, bundle: Bundle, small_shop, small_data: TrainingData
) -> None:
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=7)
    table = shop.evaluate(held_out, ["ndcg_at_20", "new_items/recall_at_20"])
    report = evaluate(
        bundle,
        small_data,
        held_out,
        rules=EvaluationRules(cutoffs=(20,)),
        rng=np.random.default_rng(7),
    )
    assert table.index.tolist() == ["ndcg_at_20", "new_items/recall_at_20"]
    for name, row in table.iterrows():
        assert row["value"] == report.estimates[name].value
        assert row["low"] == report.estimates[name].low
        assert row["popularity"] == report.baseline_estimates["popularity"][name].value


@pytest.mark.parametrize("metric", ["nonsense_at_5", "ndcg", "brand_new/ndcg_at_5"])
def test_a_metric_that_does_not_exist_is_refused_by_name(
    shop: Recommender, small_shop, small_data: TrainingData, metric: str
) -> None:
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=7)
    with pytest.raises(InvalidInput, match=metric):
        shop.evaluate(held_out, [metric])


def test_a_model_that_has_seen_the_held_out_days_is_not_evaluated(
    shop: Recommender, small_shop, small_data: TrainingData
) -> None:
    cut = small_data.as_of - timedelta(days=5)
    with pytest.raises(LeakFromFuture, match="fit on data as of the cut"):
        shop.evaluate(hold_out(small_shop.log, cut=cut, until=small_shop.end, seed=7))


def test_a_fitted_model_answers_and_is_evaluated_with_the_data_it_learnt_from(
    small_shop, small_data: TrainingData
) -> None:
    model = recsys.fit_ials(
        small_data, recsys.IALSConfig(embedding_size=16), rng=np.random.default_rng(1)
    )
    ours = Recommender.of(small_data, {"ials": model})
    customer = next(person for person in small_data.users if person.startswith("u:"))[2:]
    answers = ours.recommend(pd.DataFrame({"user_id": [customer]}), n=5)
    assert answers["sources"][0] == ["ials"] * 5
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=7)
    value = ours.evaluate(held_out, ["ndcg_at_10"]).loc["ndcg_at_10"]
    assert 0 < value["low"] < value["value"] < value["high"]
    assert ours.factors("ials").shape == (len(small_data.items), 16)
    with pytest.raises(InvalidInput, match="model with item vectors: ials"):
        ours.factors("popularity")
    with pytest.raises(InvalidInput, match="name models among ials"):
        Recommender.of(small_data, {"ials": model}, weights={"als": 1.0})


def test_a_published_version_is_loaded_by_its_directory_or_by_the_pointer(
    bundle: Bundle, tmp_path: Path
) -> None:
    directory = save_bundle(bundle, tmp_path / "bundles" / "v1")
    champion = Variant(name="champion", model_version="v1")
    write_publication(tmp_path, Publication(variants=[champion]))
    row = pd.DataFrame([{"history": [bundle.items.id(3)]}])
    by_directory, by_pointer = load(directory), recsys.load(tmp_path)
    assert lists(by_directory.recommend(row)) == lists(by_pointer.recommend(row))
    assert by_directory.as_of == bundle.manifest.as_of
    assert len(by_directory.items()) == len(bundle.items)
    with pytest.raises(InvalidInput, match=r"give a history, or open the workspace"):
        by_directory.recommend(pd.DataFrame({"user_id": ["c-0001"]}))
    with pytest.raises(InvalidInput, match="evaluate needs events"):
        by_directory.evaluate(None)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="is no bundle"):
        load(tmp_path / "nowhere")


def test_the_repr_is_short_and_names_version_and_models(shop: Recommender) -> None:
    assert len(repr(shop)) < 600
    assert "v1" in repr(shop)
    assert "als" in repr(shop)


def test_the_ten_lines_of_the_docstring_run_without_any_optional_package() -> None:
    blocked = "import sys\nfor n in ('mlflow', 'bentoml', 'implicit', 'lightfm', 'apsw', 'yaml'):\n"
    block = (recsys.__doc__ or "").split("Python.\n\n")[1].split("\n\nEvents have")[0]
    lines = [line[4:] for line in block.splitlines()]
    assert len([line for line in lines if line]) == 10
    done = subprocess.run(
        [sys.executable, "-c", blocked + "    sys.modules[n] = None\n" + "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "ndcg_at_10" in done.stdout


def test_every_name_that_the_package_offers_is_there_and_documented() -> None:
    for name in recsys.__all__:
        assert name in dir(recsys)
        value = getattr(recsys, name)
        assert name == "MODELS" or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        recsys.nothing  # noqa: B018
