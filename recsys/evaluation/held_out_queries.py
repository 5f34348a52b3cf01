"""`HeldOutQueries`: a held-out period as queries with known answers, asked as the service asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Rule
from recsys.dataset.splitting import HeldOut, Truth
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData
from recsys.evaluation.intervals import Values
from recsys.evaluation.objectives import gains
from recsys.evaluation.report import EvaluationRules
from recsys.evaluation.slices import Slices
from recsys.ids import NONE, Numbers, Vocabulary
from recsys.query.builder import build_query, personal_rules_of
from recsys.query.facts import PersonFacts
from recsys.query.query import Query
from recsys.recommend.operations import recommend

CHUNK = 256
"""Queries per batch: bounds the memory of dense scores."""


@dataclass(frozen=True, slots=True)
class HeldOutQueries:
    """A held-out period as queries with their truth, so that several bundles can be asked.

    Everybody is asked for at the cut, with what the service would have known then: `now` is the
    cut, `session` the visit that is under way at it (empty for whoever comes back later), and
    refusals, fatigue, segments and accounts are as of it (`recsys.dataset.person_records` says what
    is not). `personal` are each person's own rules for a list of `n` items; `histories` the
    distinct items of each history.
    """

    queries: list[Query]
    facts: list[PersonFacts]
    histories: list[Numbers]
    slices: Slices
    live_catalog: LiveCatalog

    @classmethod
    def of(cls, bundle: Bundle, data: TrainingData, held_out: HeldOut) -> HeldOutQueries:
        """The queries of everybody held out; bundles that are asked share this one's items."""
        facts = [data.facts(person, now=held_out.cut) for person in held_out.persons]
        settings = bundle.query_settings()
        queries = [
            build_query(
                known,
                settings,
                now=held_out.cut,
                context=data.records.context(person, now=held_out.cut),
            )
            for person, known in zip(held_out.persons, facts, strict=True)
        ]
        numbered = numbered_truth(held_out.truth, bundle.items)
        truth = [numbers for numbers, _ in numbered]
        revenues = [
            gains("revenue", bought)[positions]
            for bought, (_, positions) in zip(held_out.truth, numbered, strict=True)
        ]
        histories = [query.history.distinct() for query in queries]
        slices = Slices.of(data, queries, truth, revenues, histories)
        return cls(queries, facts, histories, slices, live_catalog_as_of(bundle))

    def measure(self, bundle: Bundle, rules: EvaluationRules) -> dict[str, Values]:
        """Every measure per person, without baselines and intervals."""
        return self.slices.measure(*self.answers(bundle, rules), rules.cutoffs)

    def answers(
        self,
        bundle: Bundle,
        rules: EvaluationRules,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Numbers], list[Numbers]]:
        """Each person's list as it is served, and one of items that are new to the person."""
        placement = placement_of(bundle, rules)
        unseen = placement.model_copy(update={"repeats": "exclude_history"})
        lists: list[Numbers] = [NONE] * len(self.queries)
        lists_unseen: list[Numbers] = [NONE] * len(self.queries)
        done = 0
        for rows, personal in self._batches(placement, rules.n):
            batch = [self.queries[row] for row in rows]
            for results, asked in ((lists, placement), (lists_unseen, unseen)):
                answers = recommend(
                    bundle, batch, asked, self.live_catalog, rules.n, personal=personal
                )
                for row, answer in zip(rows, answers, strict=True):
                    results[row] = answer.numbers
            done += len(rows)
            if progress is not None:
                progress(done, len(lists))
        return lists, lists_unseen

    def _batches(
        self, placement: Placement, n: int
    ) -> Iterator[tuple[list[int], tuple[Rule, ...]]]:
        """Rows that may be asked together, at most CHUNK, and their personal rules.

        The rules of a batch hold for all of it, so that only persons with the same rules and the
        same segments share one. Batches are by history length: the over-fetch for what is excluded
        stays small.
        """
        targeted = {name for rule in placement.rules for name in rule.for_ or ()}
        groups: dict[tuple[object, ...], tuple[list[int], tuple[Rule, ...]]] = {}
        by_size = np.argsort([len(items) for items in self.histories], kind="stable")
        for row in by_size.tolist():
            personal = personal_rules_of(self.facts[row], n=n)
            key = (
                msgspec.json.encode(personal),
                frozenset(targeted.intersection(self.queries[row].segments)),
            )
            groups.setdefault(key, ([], personal))[0].append(row)
        for rows, personal in groups.values():
            for span in _chunks(len(rows)):
                yield rows[span], personal


def placement_of(bundle: Bundle, rules: EvaluationRules) -> Placement:
    """The placement that the rules name; InsufficientData where the bundle lacks it."""
    placement = bundle.placement(rules.placement)
    if placement is None:
        raise InsufficientData(
            f"Bundle {bundle.model_version} has no placement {rules.placement!r}."
        )
    return placement


def truth_numbers(truth: Sequence[Truth], items: Vocabulary) -> list[Numbers]:
    """Each person's truth as distinct numbers; items that the vocabulary lacks are numbered behind
    it, so that they count as missed."""
    return [numbers for numbers, _ in numbered_truth(truth, items)]


def numbered_truth(
    truth: Sequence[Truth], items: Vocabulary
) -> list[tuple[Numbers, NDArray[np.intp]]]:
    """The same with the index of each number in `items` of its truth."""
    beyond: dict[str, int] = {}
    numbered = []
    for taken in truth:
        numbers = [
            number
            if (number := items.number(id)) is not None
            else beyond.setdefault(id, len(items) + len(beyond))
            for id in taken.items
        ]
        numbered.append(np.unique(np.array(numbers, np.int32), return_index=True))
    return numbered


def live_catalog_as_of(bundle: Bundle) -> LiveCatalog:
    """The availability of the bundle's catalogue in the past: its dates count, today's stock and
    withdrawals do not."""
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    return replace(live_catalog, in_stock=np.ones_like(live_catalog.in_stock))


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, CHUNK):
        yield slice(start, min(start + CHUNK, n))
