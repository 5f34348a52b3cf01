"""`recsys search`: better settings are found on validation days, in the time that it is given."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import mlflow
import numpy as np
import optuna
import pytest
import yaml
from rich.console import Console

from recsys.errors import InsufficientData
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS
from recsys.models.search_space import Choice
from recsys.store.sqlite import SQLiteStore
from training.config import TrainingConfig, load_config, overridden
from training.pipeline.nightly import refuse_personal_rows
from training.search.family_trials import Incumbent
from training.search.report import SearchResult, reasons, winning_config, write_config
from training.search.run import run
from training.search.space import (
    KIND_WEIGHTS,
    point_of,
    rounded,
    space_of,
    start_of,
    validated,
    weighting_of,
    weighting_space,
    within,
)
from training.workspace import Workspace

BAD_BLEND = {"popularity": 0.9, "repeat": 0.05, "random_walk": 0.05}
FAMILIES = ["popularity", "repeat", "random_walk", "item_item"]


def settings(root: Path, **rules: object) -> TrainingConfig:
    """Four families that start from a bad blend."""
    return TrainingConfig.model_validate(
        {
            "workspace": str(root),
            "recipe": {
                "models": {name: {} for name in BAD_BLEND},
                "placements": [{"name": "for_you", "blend": BAD_BLEND, "fallback": []}],
                "blend_search": {"sweeps": 2},
            },
            "split": {"test_days": 10, "validation_days": 10},
            "evaluation": {"resamples": 100},
            "search": {
                "families": FAMILIES,
                "trials": 3,
                "rounds": 1,
                "validations": 2,
                "minutes": 600,
                "ranker": False,
                **rules,
            },
        }
    )


def ticking(seconds: float = 1.0) -> Callable[[], float]:
    """A clock that goes on by so much whenever it is looked at."""
    moments = itertools.count()
    return lambda: next(moments) * seconds


@pytest.fixture(scope="module")
def filled(small_shop, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A workspace with the small shop's events and catalogue, and an MLflow that is empty."""
    shop = Workspace(tmp_path_factory.mktemp("search") / "workspace").create()
    shutil.copy(empty_database, shop.mlflow_database)
    store = SQLiteStore(shop.store)
    store.put_items(small_shop.shop.items, received_at=small_shop.end)
    store.close()
    for file in small_shop.log.files():
        target = shop.event_log / file.relative_to(small_shop.log.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return shop.root


def searched(root: Path, small_shop, **rules: object) -> SearchResult:
    return run(
        settings(root, **rules),
        console=Console(quiet=True),
        started=small_shop.end,
        clock=ticking(),
        out=root / "found.yaml",
    )


@pytest.fixture(scope="module")
def result(filled: Path, small_shop) -> SearchResult:
    return searched(filled, small_shop)


def mean(periods: tuple[tuple[float, float], ...]) -> float:
    return float(np.mean(periods))


def test_validation_says_that_the_winner_is_better_than_the_start(result: SearchResult) -> None:
    assert mean(result.ended) > 1.1 * mean(result.begun)
    assert result.incumbent.value > 1.1
    assert result.incumbent.weights["popularity"] < 0.5


def test_every_family_and_the_weighting_had_a_turn(result: SearchResult) -> None:
    assert {trial.turn for trial in result.trials} == {"weighting", *FAMILIES}


def test_the_value_of_the_incumbent_never_falls(result: SearchResult) -> None:
    best = [trial.incumbent for trial in result.trials]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(best))


def test_the_winner_was_measured_after_the_test_cut(result: SearchResult, small_shop) -> None:
    assert result.trial.report.cut > small_shop.end - timedelta(days=11)
    assert result.trial.report.estimates["ndcg_at_20"].value > 0
    assert result.trial.recipe.digest() == result.config.recipe.digest()


def test_the_file_that_was_written_is_the_configuration_that_won(
    result: SearchResult, filled
) -> None:
    written = load_config(filled / "found.yaml")
    assert written.recipe.digest() == result.config.recipe.digest()
    assert written.split.validations == 2
    assert written.workspace == filled


def test_the_reasons_name_validation_and_trials(result: SearchResult) -> None:
    reported = " ".join(reasons(result))
    assert "2 validation periods" in reported
    assert f"{len(result.trials)} trials" in reported


def test_trials_are_nested_runs_and_the_plots_are_figures(
    result: SearchResult, filled: Path
) -> None:
    shop = Workspace(filled)
    client = mlflow.MlflowClient(f"sqlite:///{shop.mlflow_database.resolve()}")
    experiment = client.get_experiment_by_name("recsys")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "search"]
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == len(result.trials)
    drawn = {file.path for file in client.list_artifacts(parent.info.run_id, "plots")}
    assert {"plots/search_history.png", "plots/importance.png", "plots/worth.png"} <= drawn


class Killed(BaseException):
    """Stands for the end of the process."""


def dying(after: float) -> Callable[[], float]:
    """A clock that ends the process when it has been looked at so often."""
    moments = itertools.count()

    def look() -> float:
        moment = next(moments)
        if moment > after:
            raise Killed
        return float(moment)

    return look


def test_a_search_that_was_killed_goes_on_where_it_was(
    result: SearchResult, filled: Path, small_shop
) -> None:
    config = settings(filled, trials=2)
    arguments = {"console": Console(quiet=True), "started": small_shop.end}
    with pytest.raises(Killed):
        run(config, clock=dying(0.45 * result.seconds), **arguments)
    before = trials_of(filled)
    ended = run(config, clock=ticking(), **arguments)
    after = trials_of(filled)
    assert len(after) > len(before), "the search was killed before its end"
    assert all(after[name] >= trials for name, trials in before.items())
    assert 0 < len(ended.trials) < 2 * (len(FAMILIES) + 1)
    assert ended.incumbent.value > 1.1


def trials_of(root: Path) -> dict[str, int]:
    """Study → how many trials it has."""
    storage = f"sqlite:///{Workspace(root).search_database}"
    summaries = optuna.get_all_study_summaries(storage)
    return {study.study_name: study.n_trials for study in summaries if study.n_trials}


def test_a_search_ends_in_time_to_measure(filled: Path, small_shop) -> None:
    console = Console(record=True, quiet=True)
    result = run(
        settings(filled, trials=50, minutes=1.5),
        console=console,
        started=small_shop.end,
        clock=ticking(),
    )
    assert 0 < len(result.trials) < 50
    assert result.seconds <= 90.0


def test_a_search_without_a_validation_period_is_refused(filled: Path, small_shop) -> None:
    config = settings(filled)
    split = config.split.model_copy(update={"test_days": 55.0})
    with pytest.raises(InsufficientData, match=r"validation_days"):
        run(
            config.model_copy(update={"split": split}),
            console=Console(quiet=True),
            started=small_shop.end,
            clock=ticking(),
        )


@pytest.mark.parametrize("family", sorted(MODELS))
def test_every_setting_that_is_searched_exists_and_takes_its_values(family: str) -> None:
    for name, space in MODELS[family].search_space.items():
        values = space.values if isinstance(space, Choice) else (space.low, space.high)
        for value in values:
            MODELS[family].config.model_validate({name: value})


@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_default_settings_lie_in_the_space(family: str) -> None:
    assert start_of(family, {}) is not None
    assert set(space_of(family)) == set(MODELS[family].search_space)


def test_settings_outside_the_space_are_no_point_of_it() -> None:
    assert start_of("als", {"reg": 1e6}) is None
    assert start_of("als", {"reg": 10.0, "embedding_size": 32}) == {
        "reg": 10.0, "embedding_size": 32, "alpha": 1.0
    }  # fmt: skip


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert validated("als", {"reg": 5.0, "alpha": 2.0}) == {"alpha": 2.0}
    assert validated("repeat", {"half_life_days": None}) == {"half_life_days": None}


def test_a_weighting_is_a_point_of_its_space_and_back() -> None:
    point = point_of(Weighting())
    assert point is not None
    assert weighting_of(point) == Weighting()
    assert point_of(Weighting(kind_weights={"rate": 1.0})) is None


def test_where_only_purchases_happen_looks_make_no_difference() -> None:
    kinds = weighting_space({"purchase"})["kinds"]
    assert isinstance(kinds, Choice)
    assert len(kinds.values) == 2
    everything = weighting_space(set(KIND_WEIGHTS["every kind"]))["kinds"]
    assert isinstance(everything, Choice)
    assert everything.values == tuple(KIND_WEIGHTS)


def test_values_are_rounded_to_three_figures() -> None:
    assert rounded(123.456) == 123.0
    assert rounded(0.00123456) == 0.00123
    assert rounded(0.0) == 0.0


def test_none_is_within_a_choice_that_has_it() -> None:
    assert within(MODELS["repeat"].search_space["half_life_days"], None)
    assert not within(MODELS["rebuy"].search_space["prior"], None)


def test_models_of_other_placements_keep_their_settings(tmp_path: Path) -> None:
    config = TrainingConfig.model_validate(
        {
            "recipe": {
                "models": {"als": {"reg": 9.0}, "repeat": {}, "item_item": {"shrinkage": 1.0}},
                "placements": [
                    {"name": "for_you", "blend": {"als": 0.5, "repeat": 0.5}},
                    {"name": "similar", "blend": {"item_item": 1.0, "als": 0.1}},
                ],
            },
            "gate": {"primary": "recall_at_20"},
        }
    )
    incumbent = Incumbent(
        Weighting(half_life_days=33.0),
        {"als": {"reg": 2.0}, "repeat": {"half_life_days": None}},
        {"als": 0.0, "repeat": 1.0},
        1.2,
    )
    winner = winning_config(config, incumbent, ranker=False)
    assert winner.recipe.models == {
        "repeat": {"half_life_days": None},
        "item_item": {"shrinkage": 1.0},
        "als": {"reg": 9.0},
    }
    write_config(winner, tmp_path / "mine.yaml")
    read = load_config(tmp_path / "mine.yaml")
    assert read.recipe == winner.recipe
    assert read.gate_rules().primary == "recall_at_20"
    assert "primary" in yaml.safe_load((tmp_path / "mine.yaml").read_text())["gate"]


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = settings(tmp_path)
    changed = overridden(config, minutes=3.0, objective="revenue")
    assert changed.search.minutes == 3.0
    assert changed.search.families == tuple(FAMILIES)
    assert changed.gate_rules().primary == "revenue_ndcg_at_20"
    assert overridden(config) == config
    assert math.isclose(changed.split.test_days, 10.0)


def test_a_winner_with_stored_customers_says_so_and_can_be_published(tmp_path: Path) -> None:
    config = settings(tmp_path, customer_rows=True)
    for blend, stored in (({"repeat": 1.0}, False), ({"repeat": 0.5, "up_cf": 0.5}, True)):
        incumbent = Incumbent(Weighting(), {name: {} for name in blend}, blend, 1.2)
        winner = winning_config(config, incumbent, ranker=False)
        assert winner.recipe.customer_rows is stored
        refuse_personal_rows(winner.recipe)


def test_whether_own_items_rest_is_chosen_on_validation_and_kept_by_the_winner(
    filled: Path, small_shop, tmp_path: Path
) -> None:
    shutil.copytree(filled, tmp_path / "ws")
    given = settings(tmp_path / "ws", trials=1, families=["repeat", "popularity"])
    placement = given.recipe.placements[0].model_copy(update={"repeats": "when_due"})
    recipe = given.recipe.model_copy(update={"placements": (placement,)})
    reported = run(
        given.model_copy(update={"recipe": recipe}),
        console=Console(quiet=True),
        started=small_shop.end,
        clock=ticking(),
        out=tmp_path / "found.yaml",
    )
    # The small shop's customers buy the same again before it is due.
    assert reported.incumbent.repeats == "allow"
    read = load_config(tmp_path / "found.yaml")
    assert read.recipe.placements[0].repeats == "allow"
    assert Incumbent.from_json(reported.incumbent.as_json()).repeats == "allow"
