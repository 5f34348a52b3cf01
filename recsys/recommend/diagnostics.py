"""Diagnostics of a list: how many candidates each model retrieved and each rule removed.

The models retrieve once more without any rule, so that every removal can be attributed to a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Scorer
from recsys.recommend.answers import Diagnostics
from recsys.recommend.diversity_and_quotas import Effect
from recsys.recommend.rule_engine import ListLimits
from recsys.recommend.suppression import Suppression

EXCLUDED_EFFECT: Final = "hidden"
SUPPRESSED_EFFECT: Final = "resting"


def diagnose(
    scorers: Mapping[str, Scorer],
    n: int,
    limits: ListLimits,
    suppressions: Sequence[Suppression],
    *,
    list_effects: Sequence[Sequence[Effect]],
) -> list[Diagnostics]:
    """The diagnostics of each row of a batch; n candidates per model.

    `list_effects` are the effects of pins, quotas and diversity. An item counts for the first rule
    that removes it; a boost counts as moved every candidate that it matches.
    """
    no_rule = np.ones_like(limits.eligible)
    retrieved = {name: scorer.retrieve(n, no_rule) for name, scorer in scorers.items()}
    reports = []
    for row, suppression in enumerate(suppressions):
        counts = {name: len(by_row[row]) for name, by_row in retrieved.items()}
        left = np.unique(np.concatenate([NONE, *(by[row].numbers for by in retrieved.values())]))
        effects: list[Effect] = []
        for name, mask in limits.barriers:
            left = _count(effects, name, left, mask[left])
        left = _count(effects, EXCLUDED_EFFECT, left, ~np.isin(left, suppression.excluded))
        left = _count(effects, SUPPRESSED_EFFECT, left, ~np.isin(left, suppression.suppressed))
        for name, mask, _ in limits.rules.boosts:
            effects.append(Effect(name, moved=int(mask[left].sum())))
        reports.append(Diagnostics(counts, (*effects, *list_effects[row])))
    return reports


def _count(effects: list[Effect], name: str, left: Numbers, kept: Mask) -> Numbers:
    """Adds the effect of a rule; returns the items that it keeps."""
    effects.append(Effect(name, removed=int((~kept).sum())))
    return left[kept]
