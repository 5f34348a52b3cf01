"""`Recommender`: frames in, frames out, over one trained version.

    Recommender.of(data, model)        a model that was just fitted, with the data's histories
    recsys.load(directory)             a published version
    recsys.open(workspace)             a shop's workspace (`recsys.opened_workspace`)

The service computes the same answers from the same functions; this is their form for notebooks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import bundle_directory, read_publication
from recsys.bundle.save_load import load_bundle
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Rule
from recsys.dataset.frames import Frame
from recsys.dataset.item_frame import frame_of_items
from recsys.dataset.splitting import HeldOut
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError, InvalidInput, LeakFromFuture
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.report import EvaluationRules
from recsys.evaluation.shop_metrics import metric_named
from recsys.evaluation.slices import MEASURES
from recsys.models.popularity.popularity import PopularityConfig, fit_popularity
from recsys.models.protocol import Model
from recsys.query.builder import build_query, personal_rules_of
from recsys.query.facts import PersonFacts
from recsys.query.query import Context, Query
from recsys.questions import Question, read_questions
from recsys.recommend.answers import Answer
from recsys.recommend.operations import recommend

METRICS: Final = ("recall_at_10", "ndcg_at_10", "hit_rate_at_10", "mrr_at_10")


_Key = tuple[str, int, bytes, tuple[str, ...]]
"""Placement, length, personal rules and segments of a batch."""


class _Batch(NamedTuple):
    personal: tuple[Rule, ...]
    queries: list[tuple[int, Query]]
    """Row of the question, and its query."""


@dataclass(frozen=True, slots=True)
class Recommender:
    """One version, and the data in which `user_id` and `anonymous_id` of questions are looked up.

    Without `data` a question brings its history.
    """

    bundle: Bundle
    data: TrainingData | None = None

    @classmethod
    def of(
        cls,
        data: TrainingData,
        models: Model | Mapping[str, Model],
        *,
        weights: Mapping[str, float] | None = None,
        repeats: Any = "allow",
    ) -> Recommender:
        """Models fitted on `data` as one placement, `for_you`; popularity fills what they lack.

        `models` is one model or name → model; `weights` are those of their blend, equal where not
        given. `repeats` is whether items of the history may be recommended (`Placement.repeats`).
        """
        named = dict(models) if isinstance(models, Mapping) else {"model": models}
        blend = dict.fromkeys(named, 1.0) if weights is None else dict(weights)
        missing = sorted(set(blend) - set(named))
        if missing or not blend:
            raise InvalidInput("weights", missing, f"name models among {', '.join(named)}")
        popular = fit_popularity(data, PopularityConfig(), rng=np.random.default_rng(0))
        placement = Placement(
            name="for_you", blend=blend, fallback=("popularity",), repeats=repeats
        )
        bundle = Bundle(
            manifest=Manifest(
                model_version="in memory",
                as_of=data.as_of,
                window_from=data.as_of,
                config_digest="",
                code_revision="",
            ),
            items=data.items,
            catalog=data.catalog,
            models={"popularity": popular, **named},
            placements={placement.name: placement},
            weighting=data.weighting,
        )
        return cls(bundle, data)

    @property
    def as_of(self) -> datetime:
        """The "now" of questions that name none: just after the newest event that is known."""
        return self.bundle.manifest.as_of if self.data is None else self.data.as_of

    def items(self) -> pd.DataFrame:
        """The catalogue, one row per item, indexed by `item_id`."""
        return frame_of_items(self.bundle.catalog.items)

    def recommend(
        self,
        questions: Frame,
        *,
        n: int = 20,
        placement: str = "for_you",
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """One row of answers per row of questions, under the same index.

        Columns of questions, all optional: `user_id` or `anonymous_id` (looked up in the data), or
        `history` (list of item ids, oldest first) with `kinds` (list of event kinds; purchase where
        missing) and `times` (list of times with a zone; a moment before `as_of` where missing);
        `seeds` (list of item ids: the page or the cart), `country`, and `k` and `placement` in
        place of `n` and `placement`. Unknown items are left out, an unknown person is a stranger.

        Gives `item_ids`, `scores` and `sources`: lists, best first. `as_of` is the moment of
        asking, `Recommender.as_of` where it is not given. InvalidInput names column and value.
        """
        now = self.as_of if as_of is None else as_of
        index, asked = read_questions(questions, now=now, n=n, placement=placement)
        answers = [Answer(())] * len(asked)
        live_catalog = LiveCatalog.of(self.bundle.catalog, first_seen=self.bundle.first_seen)
        for (name, k, _, _), batch in self._batches(asked, now).items():
            results = recommend(
                self.bundle,
                [query for _, query in batch.queries],
                self._placement(name),
                live_catalog,
                k,
                personal=batch.personal,
            )
            for (row, _), answer in zip(batch.queries, results, strict=True):
                answers[row] = answer
        return pd.DataFrame(
            {
                "item_ids": [self.bundle.items.ids(answer.numbers) for answer in answers],
                "scores": [[item.score for item in answer.items] for answer in answers],
                "sources": [[item.source for item in answer.items] for answer in answers],
            },
            index=index,
        )

    def evaluate(
        self,
        split: HeldOut,
        metrics: Sequence[str] = METRICS,
        *,
        placement: str = "for_you",
        seed: int = 7,
    ) -> pd.DataFrame:
        """Metrics on what was held out: one row per metric, with 95 % interval and baselines.

        Metrics are `<name>_at_<k>` (recall, ndcg, hit_rate, precision, mrr), a slice such as
        `new_items/recall_at_10`, or a metric of the shop's own by path or entry point
        (`recsys.evaluation.shop_metrics`). Columns: `value`, `low`, `high`, `customers`, and the
        value of each baseline. LeakFromFuture where model or data have seen the held-out period.
        """
        if self.data is None:
            raise InvalidInput(
                "data", None, "evaluate needs events: use recsys.open or Recommender.of"
            )
        if self.bundle.manifest.as_of > split.cut:
            raise LeakFromFuture(
                f"Version {self.bundle.model_version} has learnt until "
                f"{self.bundle.manifest.as_of.isoformat()}, after the cut {split.cut.isoformat()}; "
                "fit on data as of the cut."
            )
        rules, names = _rules_for(metrics, placement)
        report = evaluate(
            self.bundle, self.data, split, rules=rules, rng=np.random.default_rng(seed)
        )
        unknown = [name for name in names if name not in report.estimates]
        if unknown:
            raise InvalidInput("metrics", unknown[0], f"use one of {', '.join(report.estimates)}")
        rows = {
            name: {
                "value": report.estimates[name].value,
                "low": report.estimates[name].low,
                "high": report.estimates[name].high,
                "customers": report.estimates[name].customers,
                **{
                    baseline: measured[name].value
                    for baseline, measured in report.baseline_estimates.items()
                },
            }
            for name in names
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def factors(self, model: str) -> pd.DataFrame:
        """The item vectors of a factor model: one row per item, indexed by `item_id`.

        InvalidInput where the version has no such model, or a model without vectors.
        """
        vectors = {
            name: getattr(fitted, attribute)
            for name, fitted in self.bundle.models.items()
            for attribute in ("item_factors", "item_vectors")
            if isinstance(getattr(fitted, attribute, None), np.ndarray)
        }
        if model not in vectors:
            offered = ", ".join(sorted(vectors)) or "this version has none"
            raise InvalidInput("model", model, f"use a model with item vectors: {offered}")
        index = pd.Index(self.bundle.items.ids(), name="item_id")
        return pd.DataFrame(np.asarray(vectors[model]), index=index)

    def _batches(self, asked: Sequence[Question], now: datetime) -> dict[_Key, _Batch]:
        """Questions that may be asked together: one placement and length, the same personal rules,
        which hold for a whole batch, and the same segments, which rules may name."""
        settings = self.bundle.query_settings()
        batches: dict[_Key, _Batch] = {}
        for row, question in enumerate(asked):
            facts, context = self._known(question, now)
            query = build_query(facts, settings, now=now, context=context)
            query = replace(query, seeds=self.bundle.items.known(question.seeds))
            personal = personal_rules_of(facts, n=None if question.seeds else question.k)
            key = (question.placement, question.k, msgspec.json.encode(personal), query.segments)
            batches.setdefault(key, _Batch(personal, [])).queries.append((row, query))
        return batches

    def _known(self, question: Question, now: datetime) -> tuple[PersonFacts, Context]:
        context = Context(country=question.country)
        if question.person is None:
            return question.facts(self.bundle.items, now=now), context
        if self.data is None:
            raise InvalidInput(
                "user_id or anonymous_id",
                question.person[2:],
                "this version has no events: give a history, or open the workspace (recsys.open)",
            )
        under_way = self.data.records.context(question.person, now=now)
        facts = self.data.facts(question.person, now=now)
        return facts, under_way if question.country is None else context

    def _placement(self, name: str) -> Placement:
        placement = self.bundle.placement(name)
        if placement is None:
            offered = ", ".join(sorted(self.bundle.placements))
            raise InvalidInput("placement", name, f"this version has {offered}")
        return placement

    def __repr__(self) -> str:
        known = "no events" if self.data is None else f"{len(self.data.users):,} persons"
        return (
            f"<Recommender {self.bundle.model_version}: {len(self.bundle.items):,} items, "
            f"{', '.join(self.bundle.models)}; {known}>"
        )


def load(directory: Path | str) -> Recommender:
    """A published version: a bundle directory, or a `published` folder, of which the champion.

    Every file is verified; BundleError where one is missing or damaged.
    """
    folder = Path(directory)
    if not (folder / "manifest.json").exists():
        publication = read_publication(folder)
        if publication is None:
            raise BundleError(
                f"{folder} is no bundle and nothing was published there; give a directory with a "
                "manifest.json, or the folder `published` of a workspace."
            )
        folder = bundle_directory(folder, publication.champion.model_version)
    return Recommender(load_bundle(folder))


def _rules_for(metrics: Sequence[str], placement: str) -> tuple[EvaluationRules, list[str]]:
    """The rules that measure these metrics, and the names of their results, in their order."""
    names: list[str] = []
    cutoffs: set[int] = set()
    shop_metrics: list[str] = []
    for metric in metrics:
        match = re.fullmatch(r"(?:\w+/)?(?:revenue_)?(\w+)_at_(\d+)", metric)
        if match is not None and match[1] in MEASURES and int(match[2]) >= 1:
            names.append(metric)
            cutoffs.add(int(match[2]))
            continue
        if match is not None:
            raise InvalidInput("metrics", metric, f"use {', '.join(MEASURES)} as in ndcg_at_10")
        shop_metric = metric_named(metric)
        shop_metrics.append(metric)
        cutoffs |= set(shop_metric.cutoffs)
        names += [f"{shop_metric.name}_at_{k}" for k in shop_metric.cutoffs]
    if not names:
        raise InvalidInput("metrics", list(metrics), "name at least one, such as ndcg_at_10")
    rules = EvaluationRules(
        placement=placement, cutoffs=tuple(sorted(cutoffs)), metrics=tuple(shop_metrics)
    )
    return rules, names
