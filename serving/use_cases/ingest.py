"""Ingests batches of events in any supported format: each event is parsed by itself, all are stored
in one transaction, and each has a result. An invalid event rejects no other, and what is accepted
is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

import msgspec

from recsys.errors import InvalidInput
from recsys.events.adapters import (
    GA4Event,
    Ignored,
    SegmentConsent,
    SegmentMessage,
    Translated,
    measurement_event,
    message_event,
    read_lax,
)
from recsys.events.schema import Event, Tolerance, parse_event
from serving.api.parsing import id_of, read_entry, reason_text
from serving.api.schemas import EventResult, EventsAnswer, EventsRequest
from serving.api.vendor_bodies import GA4Request, SegmentRequest
from serving.metrics import Metrics
from serving.use_cases.group_commit import EventWriter

T = TypeVar("T")
Entry = Event | EventResult
"""An event to store, or the result of one that is not stored."""


def canonical_entries(
    request: EventsRequest, *, now: datetime, tolerance: Tolerance
) -> list[Entry]:
    """The batch's events, each parsed or rejected."""
    parse = partial(parse_event, now=now, tolerance=tolerance)
    entries: list[Entry] = []
    for raw in request.events:
        try:
            entries.append(read_entry(parse, raw, kind="event"))
        except InvalidInput as error:
            entries.append(_rejected(id_of(raw, "event_id"), error))
    return entries


def ga4_entries(request: GA4Request, *, now: datetime, tolerance: Tolerance) -> list[Entry]:
    """The events of a Measurement Protocol body, each translated, ignored or rejected."""

    def translate(raw: msgspec.Raw, index: int) -> Translated:
        event = read_lax(raw, GA4Event)
        return measurement_event(event, request, position=index, received_at=now)

    return [
        _entry(partial(translate, raw, index), now=now, tolerance=tolerance)
        for index, raw in enumerate(request.events)
    ]


def segment_entries(
    request: SegmentRequest, *, consent: SegmentConsent, now: datetime, tolerance: Tolerance
) -> list[Entry]:
    """The message, or those of the batch, each translated, ignored or rejected."""
    if request.batch is msgspec.UNSET:
        translate = partial(message_event, request, consent=consent, received_at=now)
        return [_entry(translate, now=now, tolerance=tolerance)]

    def translate_raw(raw: msgspec.Raw) -> Translated:
        message = read_lax(raw, SegmentMessage)
        if message.context is None and request.context is not None:
            message = msgspec.structs.replace(message, context=request.context)
        return message_event(message, consent=consent, received_at=now)

    return [
        _entry(partial(translate_raw, raw), now=now, tolerance=tolerance) for raw in request.batch
    ]


async def store_entries(
    entries: Sequence[Entry], *, writer: EventWriter, metrics: Metrics
) -> EventsAnswer:
    """Stores the events in one transaction and gives the result of every entry, in their order.

    StoreUnavailable where they could not be stored: then none of them is acknowledged.
    """
    events = [entry for entry in entries if isinstance(entry, Event)]
    stored = iter(await writer.append(events) if events else ())
    results = [
        EventResult(event_id=entry.event_id, status="accepted" if next(stored) else "duplicate")
        if isinstance(entry, Event)
        else entry
        for entry in entries
    ]
    counts = dict.fromkeys(("accepted", "duplicate", "rejected", "ignored"), 0)
    for result in results:
        counts[result.status] += 1
    for status, count in counts.items():
        metrics.events.labels(status).inc(count)
    return EventsAnswer(
        results=results,
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        rejected=counts["rejected"],
        ignored=counts["ignored"],
    )


def _entry(translate: Callable[[], Translated], *, now: datetime, tolerance: Tolerance) -> Entry:
    id = None
    try:
        translated = translate()
        if isinstance(translated, Ignored):
            return EventResult(event_id=None, status="ignored", reason=translated.reason)
        id = str(translated["event_id"])[:128]
        return parse_event(translated, now=now, tolerance=tolerance)
    except InvalidInput as error:
        return _rejected(id, error)


def _rejected(id: str | None, error: InvalidInput) -> EventResult:
    return EventResult(event_id=id, status="rejected", field=error.field, reason=reason_text(error))
