"""Renders a list as the body of an answer: the requested fields of its items, reasons, social proof
and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from recsys.bundle.placements import Placement
from recsys.catalog.rules import Rules, named
from recsys.ids import Mask
from recsys.query.query import Query
from recsys.recommend.answers import Answer, Diagnostics, Recommendation
from recsys.recommend.explanation.language_files import Language
from recsys.recommend.explanation.phrases import source_label
from recsys.recommend.explanation.reasons import ReasonStyle, reasons
from recsys.recommend.operations import Ranking
from serving.api.schemas import (
    DiagnosticsAnswer,
    PlacementAnswer,
    RankedItem,
    ReasonAnswer,
    RecommendationsRequest,
    RecommendedItem,
    RerankItem,
    RuleEffect,
    SocialProofAnswer,
)
from serving.live.versions import ServedVariant


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What the items of one list are rendered with.

    `promoted` marks the items that a rule of the shop boosts; None without such a rule or where
    nothing is explained.
    """

    request: RecommendationsRequest
    query: Query
    variant: ServedVariant
    voice: ReasonStyle
    promoted: Mask | None = None


def promoted(
    placement: Placement, asked: Rules, query: Query, variant: ServedVariant
) -> Mask | None:
    """Mask of the items that the rules of the placement or of the request boost; None without."""
    rules = [rule for _, rule in named(placement.rules, query.now, query.segments)]
    boosts = [boost for part in (*rules, asked) for boost in part.boost if boost.factor > 1]
    if not boosts:
        return None
    first, *others = (variant.live_catalog.columns.mask(boost.where) for boost in boosts)
    for mask in others:
        first = first | mask
    return first


def list_body(placement: str, answer: Answer, rendering: RenderContext) -> PlacementAnswer:
    """One placement's list."""
    return PlacementAnswer(
        placement=placement,
        level=answer.level,
        fallback=answer.fallback,
        diagnostics=_diagnostics(answer.diagnostics),
        items=[_item(item, position, rendering) for position, item in enumerate(answer.items)],
    )


def ranked_items(
    items: Sequence[RerankItem], ranking: Ranking, language: Language
) -> list[RankedItem]:
    """A given list in its new order."""
    labels = {source: source_label(source, language) for source in set(ranking.sources)}
    return [
        RankedItem(
            item_id=items[original].item_id,
            position=position,
            original_position=original,
            score=score,
            source=source,
            source_text=labels[source],
        )
        for position, (original, score, source) in enumerate(
            zip(ranking.order.tolist(), ranking.scores.tolist(), ranking.sources, strict=True)
        )
    ]


def _item(recommended: Recommendation, position: int, rendering: RenderContext) -> RecommendedItem:
    variant, request = rendering.variant, rendering.request
    item = variant.live_catalog.items[recommended.number]
    fields = request.fields
    return RecommendedItem(
        item_id=item.item_id,
        score=recommended.score,
        source=recommended.source,
        source_text=source_label(recommended.source, rendering.voice.language),
        position=position,
        reasons=_reasons(recommended, rendering) if request.explain else UNSET,
        social_proof=_social_proof(recommended, variant) if request.social_proof else UNSET,
        title=item.title if "title" in fields else UNSET,
        price=item.price if "price" in fields else UNSET,
        brand=item.brand if "brand" in fields else UNSET,
        list_price=item.list_price if "list_price" in fields else UNSET,
        category=item.category if "category" in fields else UNSET,
        kind=item.kind if "kind" in fields else UNSET,
        attributes=item.attributes if "attributes" in fields else UNSET,
    )


def _reasons(recommended: Recommendation, rendering: RenderContext) -> list[ReasonAnswer]:
    live_catalog, marked = rendering.variant.live_catalog, rendering.promoted
    explained = reasons(
        recommended,
        query=rendering.query,
        bundle=rendering.variant.bundle,
        live_catalog=live_catalog,
        style=rendering.voice,
        promoted=marked is not None and bool(marked[recommended.number]),
    )
    return [
        ReasonAnswer(
            code=reason.code,
            text=reason.text,
            share=reason.share,
            item_id=UNSET if reason.item is None else live_catalog.items[reason.item].item_id,
            trait=UNSET if reason.trait is None else reason.trait,
            facts=dict(reason.facts) if reason.facts else UNSET,
        )
        for reason in explained
    ]


def _social_proof(
    recommended: Recommendation, variant: ServedVariant
) -> SocialProofAnswer | UnsetType:
    counted = variant.bundle.social_proof
    proof = None if counted is None else counted.of(recommended.number)
    if proof is None:
        return UNSET
    return SocialProofAnswer(
        as_of=proof.as_of,
        customers=UNSET if proof.customers is None else proof.customers,
        days=UNSET if proof.customers is None else proof.days,
        rating=UNSET if proof.rating is None else proof.rating,
        ratings=UNSET if proof.ratings is None else proof.ratings,
    )


def _diagnostics(diagnostics: Diagnostics | None) -> DiagnosticsAnswer | UnsetType:
    if diagnostics is None:
        return UNSET
    return DiagnosticsAnswer(
        candidates=dict(diagnostics.candidates),
        rules=[
            RuleEffect(rule=effect.rule, removed=effect.removed, moved=effect.moved)
            for effect in diagnostics.effects
        ],
    )
