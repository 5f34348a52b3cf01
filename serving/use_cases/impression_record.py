"""The impression records of an answer, to which its outcomes are attributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.query.query import Query
from recsys.recommend.operations import Answer
from recsys.store.protocol import LoggedAnswer
from serving.api.schemas import RankedItem
from serving.live.versions import ServedVariant
from serving.use_cases.consent import PermittedPerson


def record_of_list(
    recommendation_id: str,
    placement: str,
    answer: Answer,
    permitted: PermittedPerson,
    query: Query,
    variant: ServedVariant,
) -> LoggedAnswer:
    """A placement's list as it was given, with the propensity of each item."""
    items = answer.items
    return LoggedAnswer(
        recommendation_id=recommendation_id,
        time=query.now.timestamp(),
        placement=placement,
        variant=variant.name,
        model_version=variant.bundle.model_version,
        item_ids=[variant.live_catalog.items[item.number].item_id for item in items],
        sources=[item.source for item in items],
        levels=[item.level for item in items],
        scores=[item.score for item in items],
        propensities=[item.propensity for item in items],
        person=permitted.key,
        context=_context(permitted, query),
    )


def record_of_ranking(
    recommendation_id: str,
    placement: str,
    ranked: Sequence[RankedItem],
    permitted: PermittedPerson,
    query: Query,
    variant: ServedVariant,
) -> LoggedAnswer:
    """A given list in the order in which it was sent back."""
    return LoggedAnswer(
        recommendation_id=recommendation_id,
        time=query.now.timestamp(),
        placement=placement,
        variant=variant.name,
        model_version=variant.bundle.model_version,
        item_ids=[item.item_id for item in ranked],
        sources=[item.source for item in ranked],
        levels=[ranking_level(query)] * len(ranked),
        scores=[item.score for item in ranked],
        propensities=[1.0] * len(ranked),
        person=permitted.key,
        context=_context(permitted, query),
    )


def ranking_level(query: Query) -> str:
    """How personal the order is, by what is known of the person."""
    if not len(query.history):
        return "everybody"
    return "individual" if query.known else "session"


def _context(permitted: PermittedPerson, query: Query) -> Mapping[str, str]:
    """Channel, device and country with consent; empty without."""
    if permitted.key is None:
        return {}
    context = query.context
    named = {"channel": context.channel, "device": context.device, "country": context.country}
    return {name: value for name, value in named.items() if value is not None}
