"""Fits LambdaMART on labelled candidates of earlier periods, and decides whether it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.placements import Placement
from recsys.dataset.splitting import check_no_leak
from recsys.evaluation.held_out_queries import HeldOutQueries
from recsys.evaluation.intervals import Estimate, estimates, paired_differences
from recsys.evaluation.report import EvaluationRules
from recsys.extras import optional_packages
from recsys.ranking.features import ItemFacts, item_facts
from recsys.ranking.ranker import Ranker, Trees, column_names
from training.config import RankerConfig
from training.fitting.blend_weights import Period
from training.fitting.candidate_table import LEAST_SCORED
from training.fitting.ranker_labels import LabelledTable

LEAST_CUSTOMERS = 20
"""With fewer customers in all its periods no ranker is fitted."""
MEASURED = ("recall", "ndcg")


@dataclass(frozen=True, slots=True)
class RankerDecision:
    """Whether a placement's ranker may serve: the paired gain over the plain blend, in words too.

    `gain` is a fraction of what the blend reaches, `changes` what each measure gains or loses.
    `importance` is each column's share of what the splits gained, the largest first.
    """

    placement: str
    wins: bool
    gain: Estimate
    reason: str
    importance: Mapping[str, float]
    changes: Mapping[str, Estimate] = field(default_factory=dict)


def fit_ranker(
    tables: Sequence[LabelledTable], config: RankerConfig, *, seed: int
) -> Ranker | None:
    """LambdaMART on the tables; None where they hold too few customers to learn from.

    A model that scored for fewer than LEAST_SCORED of the customers is not among the ranker's: so
    few say nothing of how much it should count in a visit. The item facts are empty
    until `build` gives those of its moment. The same tables and seed give the same trees.
    """
    # Imported here, so that what only answers does not load it.
    with optional_packages("fit_ranker"):
        import lightgbm

    customers = sum(len(table.sizes) for table in tables)
    if customers < LEAST_CUSTOMERS:
        return None
    scored = [table.scored_customers() for table in tables]
    models = tuple(
        name
        for name in tables[0].models
        if sum(by_model[name] for by_model in scored) >= LEAST_SCORED * customers
    )
    chosen = [table.of_models(models) for table in tables]
    matrix = np.concatenate([table.matrix for table in chosen])
    sizes = np.concatenate([table.sizes for table in chosen])
    settings = _tree_settings(config, seed=seed)
    rows = lightgbm.Dataset(
        matrix,
        label=np.concatenate([table.taken for table in chosen]),
        group=sizes,
        weight=np.concatenate([table.weights for table in chosen]),
        feature_name=[name.replace(" ", "_") for name in column_names(models)],
        params=settings,
    )
    boosters = [lightgbm.Booster({**settings, "objective": loss}, rows) for loss in config.losses]

    def grown(booster: lightgbm.Booster) -> str:
        for _ in range(config.trees):
            if booster.update():
                break
        return str(booster.model_to_string(importance_type="gain"))

    # One thread per loss, which only reads the rows: the trees are those of one after the other.
    with ThreadPoolExecutor(len(boosters)) as threads:
        texts = list(threads.map(grown, boosters))
    return Ranker.of(
        texts,
        [_spread(Trees.parse(text).predict(matrix), sizes) for text in texts],
        models=models,
        candidates=config.candidates,
        facts=ItemFacts.empty(),
    )


def _tree_settings(config: RankerConfig, *, seed: int) -> dict[str, Any]:
    """LightGBM's parameters but for the loss; one thread and a seed give the same trees again."""
    return {
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


def _spread(scores: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """The standard deviation of scores within a customer, over all customers; 1 where it is 0."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    means = np.bincount(groups, scores) / sizes
    return float(np.sqrt(np.mean((scores - means[groups]) ** 2))) or 1.0


def decide_ranker(
    ranker: Ranker, period: Period, placement: Placement, rules: EvaluationRules, *, seed: int
) -> RankerDecision:
    """Whether the ranker beats the placement's plain blend on a period that it was not fitted on.

    A customer's gain is the mean of the differences in recall@n and NDCG@n of all items and of
    items new to the customer, each over the blend's mean; its 95 % interval must lie above zero.
    """
    check_no_leak(period.data, period.held_out)
    asked = rules.model_copy(update={"placement": placement.name})
    plain = replace(period.bundle, placements={placement.name: placement}, rankers={})
    facts = item_facts(period.data)
    with_ranker = replace(plain, rankers={placement.name: replace(ranker, facts=facts)})

    questions = HeldOutQueries.of(plain, period.data, period.held_out)
    before, after = questions.measure(plain, asked), questions.measure(with_ranker, asked)
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
    changes = paired_differences(after, before, rng=rng, resamples=rules.resamples)
    return RankerDecision(placement.name, wins, gain, reason, importance(ranker), changes)


def importance(ranker: Ranker) -> dict[str, float]:
    """Each column's share of what the splits gained, the largest first."""
    gains = ranker.trees.gains()
    names = column_names(ranker.models)
    total = max(float(gains.sum()), 1e-12)
    return {names[column]: float(gains[column]) / total for column in np.argsort(-gains).tolist()}
