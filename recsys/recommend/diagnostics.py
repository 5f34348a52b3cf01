"""What became of the candidates of one list, rule by rule: for who wonders why an item is missing.

It asks the models once more, without any rule, so that a rule can be charged with what it removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Scorer
from recsys.recommend.answers import Diagnostics
from recsys.recommend.rule_engine import RESTING, Effect, RuleEngine
from recsys.recommend.suppression import Suppression


def diagnose(
    scorers: Mapping[str, Scorer],
    rows: int,
    n: int,
    *,
    barriers: Sequence[tuple[str, Mask]],
    rules: RuleEngine,
    journeys: Sequence[Suppression],
    chosen: Sequence[Sequence[Effect]],
) -> list[Diagnostics]:
    """A report per row.

    `barriers` are the masks of what may be shown in the order of their application, `chosen` what
    the soft rules did. An item counts for the first rule that removes it; a boost has moved what it
    matches.
    """
    open_shelf = np.ones_like(barriers[0][1])
    everything = {name: scorer.retrieve(n, open_shelf) for name, scorer in scorers.items()}
    reports = []
    for row in range(rows):
        counts = {name: len(by_row[row]) for name, by_row in everything.items()}
        left = np.unique(np.concatenate([NONE, *(by[row].numbers for by in everything.values())]))
        effects: list[Effect] = []
        for name, mask in barriers:
            left = _note(effects, name, left, mask[left])
        suppression = journeys[row]
        left = _note(effects, "hidden", left, ~np.isin(left, suppression.hidden))
        left = _note(effects, RESTING, left, ~np.isin(left, suppression.resting))
        for name, mask, _ in rules.boosts:
            effects.append(Effect(name, moved=int(mask[left].sum())))
        reports.append(Diagnostics(counts, (*effects, *chosen[row])))
    return reports


def _note(effects: list[Effect], name: str, left: Numbers, kept: Mask) -> Numbers:
    effects.append(Effect(name, removed=int((~kept).sum())))
    return left[kept]
