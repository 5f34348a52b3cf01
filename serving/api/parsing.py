"""Parsing of request bodies: the envelope as a whole, its entries one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from recsys.errors import InvalidInput
from recsys.events.schema import invalid_event
from serving.api.problems import invalid_input
from serving.api.schemas import PutAnswer, PutResult

T = TypeVar("T")

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""No JSON, no UTF-8, or nested deeper than anything that is documented."""


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body; ProblemError 400 where it cannot be read, 422 where a field breaks a rule."""
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            raise invalid_input(_named("body", invalid_event(str(error), body), body)) from None
    except _UNREADABLE as error:
        unreadable = InvalidInput("body", None, f"send one JSON object in UTF-8 ({error})")
        raise invalid_input(unreadable, status=400) from None


def read_entry(parse: Callable[[msgspec.Raw], T], raw: msgspec.Raw, *, kind: str) -> T:
    """One entry of a batch; InvalidInput names the field, or `kind` where all of it is wrong."""
    try:
        return parse(raw)
    except InvalidInput as error:
        raise _named(kind, error, raw) from None
    except _UNREADABLE as error:
        raise InvalidInput(kind, None, f"send one JSON object in UTF-8 ({error})") from None


def parse_entries(
    raws: Sequence[msgspec.Raw],
    parse: Callable[[msgspec.Raw], T],
    *,
    kind: str,
    id_field: str,
) -> tuple[list[PutResult], list[T]]:
    """A result per entry in their order, and the entries that were accepted."""
    results, accepted = [], []
    for raw in raws:
        id = id_of(raw, id_field)
        try:
            accepted.append(read_entry(parse, raw, kind=kind))
        except InvalidInput as error:
            results.append(
                PutResult(id=id, status="rejected", field=error.field, reason=reason_text(error))
            )
        else:
            results.append(PutResult(id=id, status="accepted"))
    return results, accepted


def reject_unknown(results: Sequence[PutResult], is_known: Sequence[bool]) -> list[PutResult]:
    """The results, with accepted entries rejected where `is_known` (one flag each) is False."""
    known = iter(is_known)
    return [
        PutResult(
            id=result.id,
            status="rejected",
            field="item_id",
            reason="item_id is not in the catalogue; put the item first",
        )
        if result.status == "accepted" and not next(known)
        else result
        for result in results
    ]


def put_answer(results: list[PutResult]) -> PutAnswer:
    """The results with their counts."""
    accepted = sum(result.status == "accepted" for result in results)
    return PutAnswer(results=results, accepted=accepted, rejected=len(results) - accepted)


def id_of(raw: msgspec.Raw, field: str) -> str | None:
    """The id that an entry gives itself, where it can be read at all."""
    try:
        entry: Any = msgspec.json.decode(raw)
    except _UNREADABLE:
        return None
    id = entry.get(field) if isinstance(entry, dict) else None
    return id[:128] if isinstance(id, str) else None


def reason_text(error: InvalidInput) -> str:
    """What is wrong, with the value and the remedy, fit to be sent."""
    return str(error).encode("utf-8", "replace").decode("utf-8")


def _named(whole: str, error: InvalidInput, raw: bytes | msgspec.Raw) -> InvalidInput:
    """The error under the name of the whole, where it is not about a field in it."""
    if error.field == "event" and bytes(raw).lstrip()[:1] != b"{":
        return InvalidInput(whole, error.value, error.remedy)
    return error
