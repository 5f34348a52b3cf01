"""The gate: may this candidate replace the champion? A pure decision with its reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.evaluation.report import Report
from training.config import GateRules


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate: passed or not, in words, with the paired difference behind it."""

    name: str
    passed: bool
    reason: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer; `promote` only where every check passed."""

    promote: bool
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every check in words, the failed ones first."""
        ordered = sorted(self.checks, key=lambda check: check.passed)
        return tuple(check.reason for check in ordered)

    def as_json(self) -> dict[str, object]:
        """The decision as plain values."""
        return {
            "promote": self.promote,
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
    same_recipe: bool,
    rng: Generator,
) -> Decision:
    """Whether the candidate may be published.

    Both reports must be of the same cut and the same held-out persons. Without a champion the
    candidate must only not be below the baselines, since the alternative is to serve nothing.
    ValueError where the reports do not fit each other.
    """
    checks = [
        _beats_baseline(
            candidate, name, rules, proven=champion is not None and not same_recipe, rng=rng
        )
        for name in rules.baselines
    ]
    if champion is not None:
        _check_comparable(candidate, champion)
        checks.append(_against_champion(candidate, champion, rules, same=same_recipe, rng=rng))
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
    return Check(f"beats {baseline}", passed, f"{verdict}: {figures}.", difference)


def _against_champion(
    candidate: Report, champion: Report, rules: GateRules, *, same: bool, rng: Generator
) -> Check:
    name = rules.primary
    difference = _difference(candidate.per_person, champion.per_person, name, rules, rng=rng)
    theirs = champion.estimates[name].value
    ours = candidate.estimates[name].value
    figures = f"{name} {ours:.4f} against {theirs:.4f} of the champion ({_interval(difference)})"
    if same:
        allowed = -rules.margin * theirs
        passed = difference.low >= allowed
        verdict = "Same recipe, not worse" if passed else "Same recipe, but worse"
        reason = f"{verdict} than the champion by more than {rules.margin:.0%}: {figures}."
        return Check("not worse than the champion", passed, reason, difference)
    passed = difference.low > 0
    verdict = "Better than the champion" if passed else "Not measurably better than the champion"
    return Check("better than the champion", passed, f"{verdict}: {figures}.", difference)


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
    return Check(f"guard {name}", passed, f"Guard {name} {verdict}: {figures}.", difference)


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
