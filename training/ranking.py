"""Teaches the ranker from earlier periods: what customers took after a cut, seen from before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle import Bundle
from recsys.candidates import BlendedCandidates, best_of, blended, condition, gather
from recsys.errors import InsufficientData
from recsys.evaluation import CHUNK, EvaluationRules, Report, evaluate, shelf_as_of, truth_numbers
from recsys.features import ItemFacts, item_facts
from recsys.ids import NONE, Numbers
from recsys.intervals import Estimate, estimates
from recsys.placements import Placement
from recsys.query import Mask, Query
from recsys.ranker import Ranker, Trees, column_names, ranking_matrix
from recsys.splitting import check_no_leak
from training.blending import Period, hidden_by
from training.build import Provenance, build
from training.config import RankerConfig, Recipe
from training.source import Source

LEAST_CUSTOMERS = 20
"""With fewer customers in all its periods a ranker is not taught."""
MEASURED = ("recall", "ndcg")


@dataclass(frozen=True, slots=True)
class LabelledTable:
    """Candidates with what was known of them before a cut, and whether they were taken after it.

    `matrix` has a row per candidate and the columns of `column_names(models)`; `taken` is 0 or 1;
    `sizes` are the numbers of candidates of one customer after the other; `weights` one per row.
    """

    models: tuple[str, ...]
    matrix: NDArray[np.float32]
    taken: NDArray[np.int8]
    sizes: NDArray[np.int64]
    weights: NDArray[np.float32]

    def of_models(self, kept: Sequence[str]) -> LabelledTable:
        """The table with the columns of some of its models alone."""
        names = column_names(self.models)
        columns = [names.index(name) for name in column_names(kept)]
        return replace(self, models=tuple(kept), matrix=self.matrix[:, columns])

    def opinions(self) -> set[str]:
        """The models that had an opinion on any candidate."""
        names = column_names(self.models)
        return {
            name for name in self.models if self.matrix[:, names.index(f"score of {name}")].any()
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a placement's ranker may serve: the paired gain over the plain blend, in words too.

    `gain` is a fraction of what the blend reaches. `importance` is each column's share of what the
    splits gained, the largest first.
    """

    placement: str
    wins: bool
    gain: Estimate
    reason: str
    importance: Mapping[str, float]


def teach(
    source: Source,
    recipe: Recipe,
    config: RankerConfig,
    placement: Placement,
    *,
    until: datetime,
    provenance: Provenance,
    built: Sequence[Period] = (),
    tell: Callable[[str], None] | None = None,
) -> Ranker | None:
    """The ranker of a placement, taught by what happened before `until`; None where too little did.

    The models of each period are fitted on what lay before it; `built` are periods whose bundles
    can be used again. Periods in which nobody took anything are left out.
    """
    seen = {period.held_out.cut: period for period in built}
    searched = placement.with_blend({name: max(w, 1e-9) for name, w in placement.blend.items()})
    tables = []
    for cut in label_cuts(until, source.oldest, config):
        if tell is not None:
            tell(f"{placement.name}: what was taken after {cut:%Y-%m-%d}")
        try:
            held_out = source.held_out(
                cut,
                cut + timedelta(days=config.period_days),
                sample=config.customers,
                seed=recipe.seed,
                objective=recipe.objective,
            )
        except InsufficientData:
            continue
        if cut in seen:
            period = replace(seen[cut], held_out=held_out)
        else:
            earlier = source.glance(cut, recipe)
            bundle = build(earlier, recipe, provenance=provenance, placements=[searched])
            period = Period(bundle, earlier, held_out)
        rng = np.random.default_rng([recipe.seed, int(cut.timestamp())])
        tables.append(labelled_table(period, placement, config, rng=rng))
    return fit_ranker(tables, config, seed=recipe.seed)


def label_cuts(until: datetime, oldest: datetime, config: RankerConfig) -> tuple[datetime, ...]:
    """The cuts of the periods to learn from, newest first; each period ends by `until`.

    Cuts with fewer than `least_days` of events before them are left out.
    """
    first = oldest + timedelta(days=config.least_days)
    length, stride = timedelta(days=config.period_days), timedelta(days=config.stride_days)
    cuts = (until - length - stride * place for place in range(config.periods))
    return tuple(cut for cut in cuts if cut >= first)


def labelled_table(
    period: Period, placement: Placement, config: RankerConfig, *, rng: Generator
) -> LabelledTable:
    """The best candidates of every customer of a period, and the best of those new to them.

    All that were taken are kept, of the others a share of `negatives`. A row weighs (items that the
    customer took)^−`bulk_discount`, so that a few bulk buyers do not outvote the rest. Raises
    LeakFromFuture where the period's data reach into what is held out.
    """
    check_no_leak(period.data, period.held_out)
    held_out = period.held_out
    known = [
        index
        for index, person in enumerate(held_out.persons)
        if period.data.users.number(person) is not None
    ]
    queries = period.data.queries([held_out.persons[index] for index in known], now=held_out.cut)
    truth = truth_numbers([held_out.truth[index] for index in known], period.bundle.items)
    eligible = shelf_as_of(period.bundle).eligible(held_out.cut)
    models, facts = tuple(placement.blend), item_facts(period.data)
    matrices = [np.empty((0, len(column_names(models))), np.float32)]
    taken, discounts = [np.empty(0, np.bool_)], []
    for start in range(0, len(known), CHUNK):
        some = queries[start : start + CHUNK]
        found = _candidates(period.bundle, some, placement, config.candidates, eligible)
        numbers = [row.candidates.numbers for row in found]
        parts = [row.candidates.parts for row in found]
        matrix = ranking_matrix(facts, some, numbers, parts, [row.scores for row in found])
        first = 0
        for items, true in zip(numbers, truth[start : start + CHUNK], strict=True):
            hits = np.isin(items, true)
            kept = hits | (rng.random(len(items)) < config.negatives)
            rows = matrix[first : first + len(items)][kept]
            first += len(items)
            # All taken or none taken says nothing about the order.
            if hits.any() and not hits[kept].all():
                matrices.append(rows)
                taken.append(hits[kept])
                discounts.append(float(len(true)) ** -config.bulk_discount)
    sizes = np.array([len(hits) for hits in taken[1:]], np.int64)
    return LabelledTable(
        models=models,
        matrix=np.concatenate(matrices),
        taken=np.concatenate(taken).astype(np.int8),
        sizes=sizes,
        weights=np.repeat(np.array(discounts, np.float32), sizes),
    )


def fit_ranker(
    tables: Sequence[LabelledTable], config: RankerConfig, *, seed: int
) -> Ranker | None:
    """LambdaMART on the tables; None where they hold too few customers to learn from.

    A model that had no opinion in any table is not among the ranker's. The item facts are empty
    until `build` gives those of its moment. The same tables and seed give the same trees.
    """
    # Imported here, so that what only answers does not load it.
    import lightgbm

    if sum(len(table.sizes) for table in tables) < LEAST_CUSTOMERS:
        return None
    heard: set[str] = set().union(*(table.opinions() for table in tables))
    models = tuple(name for name in tables[0].models if name in heard)
    chosen = [table.of_models(models) for table in tables]
    matrix = np.concatenate([table.matrix for table in chosen])
    sizes = np.concatenate([table.sizes for table in chosen])
    rows = lightgbm.Dataset(
        matrix,
        label=np.concatenate([table.taken for table in chosen]),
        group=sizes,
        weight=np.concatenate([table.weights for table in chosen]),
        feature_name=[name.replace(" ", "_") for name in column_names(models)],
        free_raw_data=False,
    )
    settings = {
        "lambdarank_truncation_level": config.truncation,
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.least_rows,
        "lambda_l2": config.reg,
        "feature_fraction": config.column_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "max_bin": 127,
        "seed": seed,
        # More threads wait for each other on a machine that has other work.
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    texts = [
        lightgbm.train(
            {**settings, "objective": loss}, rows, num_boost_round=config.trees
        ).model_to_string(importance_type="gain")
        for loss in config.losses
    ]
    return Ranker.of(
        texts,
        [_spread(Trees.parse(text).predict(matrix), sizes) for text in texts],
        models=models,
        candidates=config.candidates,
        facts=ItemFacts.empty(),
    )


def _spread(scores: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """The standard deviation of scores within a customer, over all customers; 1 where it is 0."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    means = np.bincount(groups, scores) / sizes
    return float(np.sqrt(np.mean((scores - means[groups]) ** 2))) or 1.0


def judge(
    ranker: Ranker, period: Period, placement: Placement, rules: EvaluationRules, *, seed: int
) -> Verdict:
    """Whether the ranker beats the placement's plain blend on a period that it was not taught on.

    A customer's gain is the mean of the differences in recall@n and NDCG@n of all items and of
    items new to the customer, each over the blend's mean; its 95 % interval must lie above zero.
    """
    asked = rules.model_copy(update={"placement": placement.name})
    plain = replace(period.bundle, placements={placement.name: placement}, rankers={})
    facts = item_facts(period.data)
    with_ranker = replace(plain, rankers={placement.name: replace(ranker, facts=facts)})

    def report(bundle: Bundle) -> Report:
        rng = np.random.default_rng(seed)
        return evaluate(bundle, period.data, period.held_out, rules=asked, rng=rng)

    before, after = report(plain).per_person, report(with_ranker).per_person
    relative = []
    for kind in ("", "new_items/"):
        for measure in MEASURED:
            name = f"{kind}{measure}_at_{rules.n}"
            present = before[name][np.isfinite(before[name])]
            if present.sum() > 0:
                relative.append((after[name] - before[name]) / present.mean())
    table = np.array(relative).reshape(len(relative), len(period.held_out))
    counted = np.isfinite(table)
    gains = np.divide(
        np.where(counted, table, 0.0).sum(axis=0),
        counted.sum(axis=0),
        out=np.full(table.shape[1], np.nan),
        where=counted.any(axis=0),
    )
    rng = np.random.default_rng(seed)
    gain = estimates({"gain": gains}, rng=rng, resamples=rules.resamples)["gain"]
    wins = bool(gain.low > 0)
    reason = (
        f"{placement.name}: {'the ranker' if wins else 'the plain blend'} serves; the ranker is "
        f"{gain.value:+.1%} beside the blend from {period.held_out.cut:%Y-%m-%d} on "
        f"(95% interval {gain.low:+.1%} to {gain.high:+.1%}, {gain.customers} customers)."
    )
    return Verdict(placement.name, wins, gain, reason, importance(ranker))


def importance(ranker: Ranker) -> dict[str, float]:
    """Each column's share of what the splits gained, the largest first."""
    gains = ranker.trees.gains()
    names = column_names(ranker.models)
    total = max(float(gains.sum()), 1e-12)
    return {names[place]: float(gains[place]) / total for place in np.argsort(-gains).tolist()}


def _candidates(
    bundle: Bundle, queries: Sequence[Query], placement: Placement, n: int, eligible: Mask
) -> list[BlendedCandidates]:
    """Per query the blend's n best of what may be shown, and the n best of those that are new."""
    models = tuple(placement.blend)
    weights = np.array([placement.blend[name] for name in models], np.float32)
    scorers = condition(bundle, queries, models)
    nothing: list[Numbers] = [NONE] * len(queries)
    both = []
    for query, candidates in zip(
        queries, gather(scorers, placement.candidates, eligible, nothing), strict=True
    ):
        found = blended(candidates, weights, models)
        numbers = found.candidates.numbers
        shown = ~hidden_by(placement, numbers, query.history)
        new = ~np.isin(numbers, query.history.items)
        kept = np.union1d(
            best_of(found.where(shown), n).candidates.numbers,
            best_of(found.where(shown & new), n).candidates.numbers,
        )
        both.append(found.where(np.isin(numbers, kept)))
    return both
