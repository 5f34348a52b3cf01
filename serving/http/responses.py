"""HTTP responses: JSON answers, answers with lists that the request log describes, and problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from starlette.responses import Response

from recsys.store.protocol import LoggedAnswer
from serving.api.problems import MEDIA_TYPE, ProblemError, encode_problem
from serving.api.schemas import RecommendationsAnswer, RerankAnswer
from serving.request_log import ListLine, LogFields


class ListsResponse(Response):
    """An answer with lists, and the fields of its line in the request log."""

    def __init__(
        self, answer: msgspec.Struct | Mapping[str, object], log_fields: LogFields
    ) -> None:
        super().__init__(msgspec.json.encode(answer), media_type="application/json")
        self.log_fields = log_fields


def json_response(answer: msgspec.Struct | Mapping[str, object]) -> Response:
    """200 with the answer as JSON."""
    return Response(msgspec.json.encode(answer), media_type="application/json")


def problem_response(problem: ProblemError) -> Response:
    """The problem as RFC 9457 problem details."""
    return Response(
        encode_problem(problem),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def log_fields_of(
    answer: RecommendationsAnswer | RerankAnswer, logged: Sequence[LoggedAnswer]
) -> LogFields:
    """The fields of the request log for an answer and the lists in it; no person is among them."""
    return LogFields(
        lists=[
            ListLine(placement=entry.placement, level=entry.levels[0] if entry.levels else None)
            for entry in logged
        ],
        variant=answer.variant,
        model_version=answer.model_version,
        degraded=answer.degraded,
        recommendation_id=answer.recommendation_id,
        items=sum(len(entry.item_ids) for entry in logged),
    )
