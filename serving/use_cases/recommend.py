"""The use cases `recommend` and `rerank`: a request in, an answer and its impressions out.

`serving.use_cases.consent` decides what may be known of the person, `recsys.query.builder` makes
the query, `recsys.recommend.operations` the lists.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from msgspec import UNSET
from numpy.random import Generator

from recsys.bundle.placements import RERANK, Placement
from recsys.catalog.rules import Rules
from recsys.query.builder import build_query, personal_rules_of
from recsys.query.facts import PersonFacts
from recsys.query.query import Listed, Query
from recsys.recommend.explanation.language_files import Language
from recsys.recommend.explanation.reasons import ReasonStyle
from recsys.recommend.operations import recommend, rerank
from recsys.store.protocol import LoggedAnswer, PeopleStore
from serving.api import routes
from serving.api.problems import invalid
from serving.api.schemas import (
    PlacementAnswer,
    RecommendationsAnswer,
    RecommendationsRequest,
    RequestConsent,
    RequestContext,
    RerankAnswer,
    RerankItem,
    RerankRequest,
    User,
)
from serving.live.versions import LiveVersions, ServedVariant
from serving.metrics import Metrics
from serving.use_cases.consent import PermittedPerson, permitted_person
from serving.use_cases.impression_record import ranking_level, record_of_list, record_of_ranking
from serving.use_cases.pagination import Pagination, new_id
from serving.use_cases.person_facts import context_of, facts_of
from serving.use_cases.person_reader import PersonReader
from serving.use_cases.rendering import RenderContext, list_body, promoted, ranked_items

FIRST_PAGE = Pagination()


class Recommender:
    """Answers from a store and the given `LiveVersions`; stateless between requests."""

    def __init__(
        self,
        store: PeopleStore,
        *,
        metrics: Metrics,
        history_limit: int,
        session_gap: timedelta,
        voice: ReasonStyle | None = None,
        store_patience_seconds: float = 0.04,
        store_rest_seconds: float = 0.5,
    ) -> None:
        self._persons = PersonReader(
            store,
            patience_seconds=store_patience_seconds,
            rest_seconds=store_rest_seconds,
            stopwatch=time.monotonic,
            failed=metrics.store_failures.labels("person").inc,
        )
        self._metrics = metrics
        self._history_limit = history_limit
        self._session_gap = session_gap
        self._voice = voice or ReasonStyle()

    def recommend(
        self,
        request: RecommendationsRequest,
        versions: LiveVersions,
        *,
        now: datetime,
        rng: Generator,
        earlier: Pagination = FIRST_PAGE,
        may_explore: bool = True,
    ) -> tuple[RecommendationsAnswer, list[LoggedAnswer]]:
        """The lists of one page and their impressions; no item is in two lists, nor in one of the
        `earlier` answers of the page. `may_explore`: new items may be drawn, since the answer is
        sure to be logged.

        ProblemError where a placement is not one of the bundle's.
        """
        permitted, facts, variant, query = self._query(
            request.user, request.consent, request.context, versions, now, rng
        )
        placements = [
            _placement(variant, asked.placement, field=f"placements[{index}].placement")
            for index, asked in enumerate(request.placements)
        ]
        recommendation_id = new_id(now, rng)
        lists: list[PlacementAnswer] = []
        logged: list[LoggedAnswer] = []
        taken = variant.bundle.items.known(earlier.item_ids)
        for asked, placement in zip(request.placements, placements, strict=True):
            here = replace(query, seeds=variant.bundle.items.known(asked.items))
            started = self._metrics.stopwatch()
            (answer,) = recommend(
                variant.bundle,
                [here],
                placement,
                variant.live_catalog,
                asked.k,
                exclude=[taken],
                rules=asked,
                personal=personal_rules_of(facts, n=None if asked.items else asked.k),
                explain=request.explain,
                diagnose=request.diagnostics,
                rng=rng if may_explore else None,
            )
            taken = np.concatenate([taken, answer.numbers])
            rendering = RenderContext(
                request=request,
                query=here,
                variant=variant,
                voice=self._voice_of(request.language, placement),
                promoted=promoted(placement, asked, here, variant) if request.explain else None,
            )
            lists.append(list_body(asked.placement, answer, rendering))
            logged.append(
                record_of_list(recommendation_id, asked.placement, answer, permitted, here, variant)
            )
            self._count(
                routes.RECOMMENDATIONS.path,
                asked.placement,
                variant,
                answer.level,
                self._metrics.stopwatch() - started,
            )
            for effect in (answer.diagnostics or answer).effects:
                if effect.removed:
                    removals = self._metrics.rule_removals.labels(asked.placement, effect.rule)
                    removals.inc(effect.removed)
        return (
            RecommendationsAnswer(
                recommendation_id=recommendation_id,
                model_version=variant.bundle.model_version,
                variant=variant.name,
                degraded=permitted.degraded or earlier.degraded,
                placements=lists,
                continues=list(earlier.recommendation_ids) if request.continue_from else UNSET,
            ),
            logged,
        )

    def rerank(
        self, request: RerankRequest, versions: LiveVersions, *, now: datetime, rng: Generator
    ) -> tuple[RerankAnswer, list[LoggedAnswer]]:
        """Every item that was sent, in the person's order, and its impression.

        ProblemError where an id is sent twice.
        """
        _refuse_repeats(request.items)
        permitted, facts, variant, query = self._query(
            request.user, request.consent, request.context, versions, now, rng
        )
        if request.query is not None:
            query = replace(query, context=replace(query.context, search_term=request.query))
        listed = _listed(request.items, variant)
        placement = variant.bundle.placement(RERANK)
        if placement is None:
            raise invalid("placement", RERANK, "the served bundle cannot rerank; train it so")
        started = self._metrics.stopwatch()
        (ranking,) = rerank(
            variant.bundle,
            [replace(query, listed=listed)],
            placement,
            variant.live_catalog,
            rules=Rules(boost=request.boost),
            personal=personal_rules_of(facts),
        )
        recommendation_id = new_id(now, rng)
        ranked = ranked_items(request.items, ranking, request.language or self._voice.language)
        seconds = self._metrics.stopwatch() - started
        self._count(routes.RERANK.path, RERANK, variant, ranking_level(query), seconds)
        return (
            RerankAnswer(
                recommendation_id=recommendation_id,
                model_version=variant.bundle.model_version,
                variant=variant.name,
                degraded=permitted.degraded,
                items=ranked,
            ),
            [record_of_ranking(recommendation_id, RERANK, ranked, permitted, query, variant)],
        )

    def _query(
        self,
        user: User,
        consent: RequestConsent | None,
        context: RequestContext,
        versions: LiveVersions,
        now: datetime,
        rng: Generator,
    ) -> tuple[PermittedPerson, PersonFacts, ServedVariant, Query]:
        permitted = permitted_person(
            self._persons, user, consent, history_limit=self._history_limit
        )
        if permitted.degraded:
            self._metrics.degraded.inc()
        variant = versions.variant_of(permitted.assigned, rng=rng)
        bundle = variant.bundle
        facts = facts_of(permitted, bundle.items, now=now, session_id=user.session_id)
        query = build_query(
            facts,
            bundle.query_settings(session_gap=self._session_gap),
            now=now,
            context=context_of(context),
        )
        return permitted, facts, variant, query

    def _voice_of(self, language: Language | None, placement: Placement) -> ReasonStyle:
        """The shop's style of reasons in the language of the request and the placement's tone."""
        return replace(
            self._voice,
            language=language or self._voice.language,
            tone=placement.tone or self._voice.tone,
        )

    def _count(
        self,
        route: str,
        placement: str,
        variant: ServedVariant,
        level: str | None,
        seconds: float,
    ) -> None:
        named = (placement, variant.name, level or "none")
        self._metrics.answers.labels(*named).inc()
        self._metrics.list_seconds.labels(route, *named).observe(seconds)


def _placement(variant: ServedVariant, name: str, *, field: str) -> Placement:
    placement = variant.bundle.placement(name)
    if placement is None or name == RERANK:
        names = ", ".join(sorted(set(variant.bundle.placements) - {RERANK}))
        raise invalid(field, name, f"use one of {names}")
    return placement


def _refuse_repeats(items: Sequence[RerankItem]) -> None:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        if first.setdefault(item.item_id, index) != index:
            raise invalid(
                f"items[{index}].item_id",
                item.item_id,
                f"items[{first[item.item_id]}] has the same id; send each item once",
            )


def _listed(items: Sequence[RerankItem], variant: ServedVariant) -> Listed:
    return Listed(
        items=variant.bundle.items.numbers([item.item_id for item in items]),
        scores=np.array(
            [np.nan if item.score is None else item.score for item in items], np.float32
        ),
    )
