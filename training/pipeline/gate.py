"""The gate: may this candidate replace the champion? A pure decision with its reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.random import Generator

from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.evaluation.report import Report
from training.config import GateRules

Change = Literal["none", "requested", "automatic"]
"""How the candidate's recipe differs from the champion's: not at all (fresher data alone), as a
person has configured it, or as a program has chosen."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate: passed or not, in words, with the paired difference behind it.

    `certain` failures are those where the whole interval lies on the wrong side of what is allowed.
    """

    name: str
    passed: bool
    reason: str
    difference: Estimate
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer: `promote` where every check passed and the bundle can serve.

    `faults` say in words why the bundle cannot serve.
    """

    promote: bool
    checks: tuple[Check, ...]
    faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the candidate may be tried on some of the customers: it can serve, and no check
        failed with certainty."""
        return not self.faults and not any(c.certain and not c.passed for c in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The faults, then every check in words, the failed ones first."""
        ordered = sorted(self.checks, key=lambda check: check.passed)
        return (*self.faults, *(check.reason for check in ordered))

    def refused(self, fault: str) -> Decision:
        """The same checks of a candidate whose bundle cannot serve."""
        return replace(self, promote=False, faults=(*self.faults, fault))

    def as_json(self) -> dict[str, object]:
        """The decision as plain values."""
        return {
            "promote": self.promote,
            "sound": self.sound,
            "faults": list(self.faults),
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "reason": check.reason,
                    "difference": check.difference.value,
                    "low": check.difference.low,
                    "high": check.difference.high,
                    "customers": check.difference.customers,
                }
                for check in self.checks
            ],
        }


def decide(
    candidate: Report,
    champion: Report | None,
    rules: GateRules,
    *,
    change: Change,
    rng: Generator,
) -> Decision:
    """Whether the candidate may be published.

    Both reports must be of the same cut and the same held-out persons. Only an automatic change has
    to be better than champion and baselines; the same recipe, and a change that a person asked for,
    must not be worse than the champion by more than the margin, nor below a baseline. Without a
    champion the candidate must only not be below the baselines, since the alternative is to serve
    nothing. ValueError where the reports do not fit each other.
    """
    proven = champion is not None and change == "automatic"
    checks = [
        _beats_baseline(candidate, name, rules, proven=proven, rng=rng) for name in rules.baselines
    ]
    if champion is not None:
        _check_comparable(candidate, champion)
        checks.append(_against_champion(candidate, champion, rules, change=change, rng=rng))
        checks += [
            _guard(candidate, champion, name, rules, rng=rng)
            for name in rules.guards
            if _applies(candidate.per_person, name) and _applies(champion.per_person, name)
        ]
    return Decision(all(check.passed for check in checks), tuple(checks))


def _beats_baseline(
    report: Report, baseline: str, rules: GateRules, *, proven: bool, rng: Generator
) -> Check:
    name = rules.primary
    difference = _difference(report.per_person, report.baselines[baseline], name, rules, rng=rng)
    theirs = report.baseline_estimates[baseline][name].value
    ours = report.estimates[name].value
    figures = f"{name} {ours:.4f} against {theirs:.4f} of {baseline} ({_interval(difference)})"
    if difference.low > 0:
        verdict, passed = "Better than the baseline", True
    elif difference.value >= 0:
        verdict, passed = "Not below the baseline, though not proven better", not proven
    else:
        verdict, passed = "Below the baseline", False
    certain = difference.high < 0
    return Check(f"beats {baseline}", passed, f"{verdict}: {figures}.", difference, certain)


def _against_champion(
    candidate: Report, champion: Report, rules: GateRules, *, change: Change, rng: Generator
) -> Check:
    name = rules.primary
    difference = _difference(candidate.per_person, champion.per_person, name, rules, rng=rng)
    theirs = champion.estimates[name].value
    ours = candidate.estimates[name].value
    figures = f"{name} {ours:.4f} against {theirs:.4f} of the champion ({_interval(difference)})"
    allowed = -rules.margin * theirs
    better, not_worse = difference.low > 0, difference.low >= allowed
    than = f"than the champion by more than {rules.margin:.0%}"
    if change == "automatic":
        question, passed = "better than the champion", better
        verdict = (
            "Better than the champion" if better else "Not measurably better than the champion"
        )
    elif change == "none":
        question, passed = "not worse than the champion", not_worse
        verdict = f"Same recipe, {'not' if not_worse else 'but'} worse {than}"
    else:
        question, passed = "not worse than the champion", not_worse
        if better:
            verdict = "Changed recipe, better than the champion"
        elif not_worse:
            verdict = f"Changed recipe, admitted since it was asked for and is not worse {than}"
        else:
            verdict = f"Changed recipe, which may be worse {than}"
    reason = f"{verdict}: {figures}."
    return Check(question, passed, reason, difference, certain=difference.high < allowed)


def _guard(
    candidate: Report, champion: Report, name: str, rules: GateRules, *, rng: Generator
) -> Check:
    difference = _difference(candidate.per_person, champion.per_person, name, rules, rng=rng)
    theirs = champion.estimates[name].value
    passed = not difference.high < -rules.guard_margin * theirs
    figures = (
        f"{candidate.estimates[name].value:.4f} against {theirs:.4f} ({_interval(difference)})"
    )
    verdict = "holds" if passed else f"fell by more than {rules.guard_margin:.0%}"
    reason = f"Guard {name} {verdict}: {figures}."
    return Check(f"guard {name}", passed, reason, difference, certain=not passed)


def _difference(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    name: str,
    rules: GateRules,
    *,
    rng: Generator,
) -> Estimate:
    return paired_differences(
        {name: ours[name]}, {name: theirs[name]}, rng=rng, resamples=rules.resamples
    )[name]


def _check_comparable(candidate: Report, champion: Report) -> None:
    ours = (candidate.cut, candidate.until, len(next(iter(candidate.per_person.values()))))
    theirs = (champion.cut, champion.until, len(next(iter(champion.per_person.values()))))
    if ours != theirs:
        raise ValueError(f"The reports are of different periods or persons: {ours} and {theirs}.")


def _applies(table: Mapping[str, np.ndarray], name: str) -> bool:
    return name in table and not np.isnan(table[name]).all()


def _interval(difference: Estimate) -> str:
    return (
        f"difference {difference.value:+.4f}, 95% interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}, {difference.customers} customers"
    )
