"""Rounds of Optuna studies over a family evaluator; the only Optuna file.

In each round every family (and the weighting of events) has a turn: a study proposes settings, the
evaluator measures them within the blend, and the best become the incumbent. The studies are in one
SQLite file with the incumbent after each turn, so that a search that was killed goes on where it
was.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from recsys.errors import RecsysError
from recsys.models.search_space import Choice, Space
from training.config import RankerConfig, TrainingConfig
from training.run_context import Reporter
from training.search.family_trials import FamilyEvaluator, Incumbent, Starts, TrialResult
from training.search.space import (
    point_of,
    rounded,
    space_of,
    start_of,
    validated,
    weighting_of,
    within,
)
from training.search.trials import TrialRecord
from training.tracking import Run, Tracking

WEIGHTING = "weighting"
"""The turn in which the weighting of events is changed; all others are named by their family."""
FIRST_TRIALS = 4
"""Random ones before TPE and the pruner have something to go by."""
MEASURING_RESERVE = 1.15
"""How much dearer the last measurement may be than foreseen."""
RANKER_SHARE = 0.4
"""Of the time, what a ranker may take."""
TOLERANCE = 0.02
"""Of the time, by how much the measurement may be foreseen to end late."""
LEAST_GAIN = 1e-4


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the search must have its choice, and how long measuring it will take."""

    clock: Callable[[], float]
    began: float
    seconds: float

    def left(self, reserve: float) -> float:
        """Seconds until `reserve` must begin."""
        return self.seconds - (self.clock() - self.began) - reserve


@dataclass(slots=True)
class Search:
    """The rounds of one search."""

    evaluator: FamilyEvaluator
    studies: Studies
    deadline: Deadline
    config: TrainingConfig
    reporter: Reporter
    tracking: Tracking
    tracked: Run
    weightings: Space
    trials: list[TrialRecord] = field(default_factory=list)

    def rounds(self) -> None:
        """Turns until the time is up, or a whole round has brought nothing."""
        rules = self.config.search
        if self.studies.fresh:
            self.evaluator.adapt_weights()
            self.reporter.log(f"weights adapted: {self.evaluator.incumbent.value:.4f} of the start")
        for number in range(1, rules.rounds + 1):
            before = self.evaluator.incumbent.value
            turns = [WEIGHTING, *self.evaluator.families()]
            if number == 1:
                turns = [*turns[1:4], WEIGHTING, *turns[4:]]
            for index, turn in enumerate(turns):
                if self.studies.incumbent(number, turn) is not None:
                    continue
                left = self.deadline.left(self.reserve())
                if left <= 0:
                    return
                share = left / (len(turns) - index)
                if self._space(turn) and self._foreseen(turn) < left:
                    self._turn(number, turn, until=self.deadline.clock() + 2.0 * share)
            self.evaluator.adapt_weights()
            gained = self.evaluator.incumbent.value - before
            self.reporter.log(
                f"round {number}: {self.evaluator.incumbent.value:.4f} of the start "
                f"({len(self.trials)} trials)"
            )
            if gained < LEAST_GAIN and number > 1:
                return

    def reserve(self) -> float:
        """Seconds reserved to refit each family of the incumbent and to score the test set; with a
        ranker, where one is asked for and takes no more than its share of the time."""
        ranked = self._with_ranker()
        if self.config.search.ranker and ranked <= RANKER_SHARE * self.deadline.seconds:
            return ranked
        return MEASURING_RESERVE * self._measuring(fits=len(self.evaluator.tables) + 1, lists=2)

    def ranker_fits_in(self) -> bool:
        """Whether there is time to fit and evaluate a ranker as well, where one is asked for."""
        if not self.config.search.ranker:
            return False
        if self.deadline.left(self._with_ranker()) > -TOLERANCE * self.deadline.seconds:
            return True
        self.reporter.log("There is no time left to try a ranker; give more minutes for that.")
        return False

    def _with_ranker(self) -> float:
        """Seconds of a measurement with a ranker, which is fitted twice (for its trial and for the
        test) and compared with the blend."""
        ranker = self.config.recipe.ranker or RankerConfig()
        fits = len(self.evaluator.tables) + 1 + 2 * ranker.periods
        return MEASURING_RESERVE * self._measuring(fits=fits, lists=6)

    def _measuring(self, *, fits: int, lists: int) -> float:
        weights = self.evaluator.incumbent.weights
        per_fit = sum(
            self.evaluator.seconds.get(name, 0.0) for name, weight in weights.items() if weight > 0
        ) / len(self.evaluator.tables)
        return per_fit * (fits + lists) + 10.0

    def _turn(self, number: int, turn: str, *, until: float) -> None:
        study = self.studies.study(number, turn, seed=self.config.recipe.seed)
        space, start = self._space(turn), self._start(turn)
        done = len(study.trials)
        best = self._best_again(study, turn) if done else None
        if not done and start is not None:
            study.enqueue_trial(dict(start))
        seen: dict[str, float] = {}
        for index in range(done, self.config.search.trials):
            foreseen = self._foreseen(turn)
            if self.deadline.left(self.reserve()) < foreseen:
                break
            if index > done and self.deadline.clock() + foreseen > until:
                break
            self._report_progress(f"round {number}, {turn} {index + 1}/{self.config.search.trials}")
            trial = study.ask()
            settings = _suggest(trial, space)
            key = json.dumps(settings, sort_keys=True)
            if key in seen:
                study.tell(trial, seen[key])
                continue
            trial_result = self._try(study, trial, turn, settings, number)
            if trial_result is None:
                continue
            seen[key] = trial_result.value
            if best is None or trial_result.value > best.value:
                best = trial_result
        if not study.trials:
            return
        if best is not None and best.value > self.evaluator.incumbent.value + LEAST_GAIN:
            self.evaluator.adopt(best)
            self.evaluator.adapt_weights(sweeps=1)
            self.reporter.log(f"round {number}, {turn}: {self.evaluator.incumbent.value:.4f}")
        self.studies.finish(number, turn, self.evaluator.incumbent, self.evaluator.objective.start)

    def _best_again(self, study: optuna.Study, turn: str) -> TrialResult | None:
        """The best trial of an interrupted turn, evaluated again: only its value was stored."""
        if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
            return None
        self._report_progress(f"{turn}: the best of {len(study.trials)} trials once more")
        return list(self._trial_results(turn, _settings(study.best_params, self._space(turn))))[-1]

    def _try(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        turn: str,
        settings: Mapping[str, Any],
        number: int,
    ) -> TrialResult | None:
        """One trial, period by period; None where it is pruned or refused."""
        state = "complete"
        trial_result: TrialResult | None = None
        began = self.deadline.clock()
        try:
            for step, trial_result in enumerate(self._trial_results(turn, settings)):
                trial.report(trial_result.value, step)
                if step + 1 < len(self.evaluator.tables) and trial.should_prune():
                    state = "pruned"
                    break
        except RecsysError as refusal:
            state, trial_result = "refused", None
            self.reporter.log(f"{turn} refused {dict(settings)}: {refusal}")
        if turn == WEIGHTING:
            self.evaluator.forget(weighting_of(settings))
            self.evaluator.seconds[WEIGHTING] = self.deadline.clock() - began
        value = None if trial_result is None else trial_result.value
        ends = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "refused": TrialState.FAIL,
        }
        study.tell(trial, value if state == "complete" else None, state=ends[state])
        record = TrialRecord(
            number, turn, dict(settings), state, value, self.evaluator.incumbent.value
        )
        self.trials.append(record)
        with self.tracking.run(
            f"{turn} {number}.{trial.number}",
            params=settings,
            tags={"turn": turn, "state": state},
            parent=self.tracked,
        ) as nested:
            if value is not None:
                nested.log_metrics({"value": value})
        return trial_result if state == "complete" else None

    def _trial_results(self, turn: str, settings: Mapping[str, Any]) -> Iterator[TrialResult]:
        if turn == WEIGHTING:
            return self.evaluator.try_weighting(weighting_of(settings))
        fixed = self.evaluator.incumbent.settings[turn]
        return self.evaluator.try_family(turn, validated(turn, {**fixed, **settings}))

    def _space(self, turn: str) -> Space:
        return self.weightings if turn == WEIGHTING else space_of(turn)

    def _start(self, turn: str) -> Mapping[str, Any] | None:
        incumbent = self.evaluator.incumbent
        if turn == WEIGHTING:
            point = point_of(incumbent.weighting)
            known = point is not None and within(self.weightings["kinds"], point["kinds"])
            return point if known else None
        return start_of(turn, incumbent.settings[turn])

    def _foreseen(self, turn: str) -> float:
        """Seconds that a trial of this turn will take."""
        seconds = self.evaluator.seconds
        if turn != WEIGHTING:
            return seconds.get(turn, 0.0) + 1.0
        weights = self.evaluator.incumbent.weights
        whole = sum(seconds.get(name, 0.0) for name, weight in weights.items() if weight > 0)
        return max(whole, seconds.get(WEIGHTING, 0.0)) + 5.0

    def _report_progress(self, text: str) -> None:
        spent = self.deadline.clock() - self.deadline.began
        self.reporter.report_progress(f"{text}, best {self.evaluator.incumbent.value:.4f}")
        self.reporter.count(int(spent), int(self.deadline.seconds))


@dataclass(slots=True)
class Studies:
    """One study per round and turn, all in one SQLite file."""

    storage: optuna.storages.RDBStorage
    name: str
    fresh: bool
    _opened: list[optuna.Study] = field(default_factory=list)

    @classmethod
    def open(cls, database: Path, name: str, *, resume: bool) -> Studies:
        """The studies of that name: those of an earlier search, or none where it is not resumed."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.RDBStorage(f"sqlite:///{database.resolve()}")
        known = [
            study for study in optuna.get_all_study_names(storage) if study.startswith(f"{name}/")
        ]
        if not resume:
            for study in known:
                optuna.delete_study(study_name=study, storage=storage)
        return cls(storage, name, fresh=not (resume and known))

    def study(self, number: int, turn: str, *, seed: int) -> optuna.Study:
        """The study of a turn; a trial that was cut off by a kill is closed."""
        name = f"{self.name}/{number:02d}/{turn}"
        known = name in optuna.get_all_study_names(self.storage)
        study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(
                n_startup_trials=FIRST_TRIALS, seed=zlib.crc32(f"{seed} {number} {turn}".encode())
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS),
        )
        for trial in study.get_trials(deepcopy=False) if known else ():
            if not trial.state.is_finished():
                study.tell(trial.number, state=TrialState.FAIL)
        self._opened.append(study)
        return study

    def incumbent(self, number: int, turn: str) -> Mapping[str, Any] | None:
        """The record of a finished turn; None where it is not finished."""
        name = f"{self.name}/{number:02d}/{turn}"
        if name not in self._finished():
            return None
        return self._finished()[name]

    def latest(self) -> tuple[Incumbent, Starts] | None:
        """The incumbent after the last finished turn, and the measures that have the value 1."""
        finished = sorted(self._finished().values(), key=lambda finish: finish["place"])
        if not finished:
            return None
        starts = tuple((float(whole), float(new)) for whole, new in finished[-1]["starts"])
        return Incumbent.from_json(finished[-1]["standing"]), starts

    def finish(self, number: int, turn: str, incumbent: Incumbent, starts: Starts) -> None:
        """Stores the incumbent after a turn."""
        study = optuna.load_study(
            study_name=f"{self.name}/{number:02d}/{turn}", storage=self.storage
        )
        content = {
            "standing": incumbent.as_json(),
            "starts": [list(pair) for pair in starts],
            "place": len(self._finished()),
        }
        study.set_user_attr("finished", content)

    def importances(self) -> dict[str, float]:
        """`family.setting` → its share of what the settings of its study decide, times the spread
        of the study's values: how much turning that knob moved the objective."""
        moved: dict[str, float] = {}
        for study in self._opened:
            values = [trial.value for trial in study.trials if trial.value is not None]
            if len(set(values)) < FIRST_TRIALS:
                continue
            turn = study.study_name.rpartition("/")[2]
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
            for name, share in shares.items():
                key = f"{turn}.{name}"
                moved[key] = max(moved.get(key, 0.0), share * (max(values) - min(values)))
        return dict(sorted(moved.items(), key=lambda pair: -pair[1]))

    def _finished(self) -> dict[str, Mapping[str, Any]]:
        return {
            summary.study_name: summary.user_attrs["finished"]
            for summary in optuna.get_all_study_summaries(self.storage)
            if summary.study_name.startswith(f"{self.name}/") and "finished" in summary.user_attrs
        }


def _suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            trial.suggest_categorical(name, dimension.values)
        else:
            trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return _settings(trial.params, space)


def _settings(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    return {
        name: params[name] if isinstance(dimension, Choice) else rounded(params[name])
        for name, dimension in space.items()
    }
