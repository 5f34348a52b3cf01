"""Bodies of other event systems as canonical events: pure functions, a mapping per event.

    ga4.measurement_event    a Measurement Protocol body, as tag servers and backends send it
    ga4_export.row_event     one row of the BigQuery export
    segment.message_event    one Segment message of the e-commerce spec, v1 or v2

The result is still validated by `recsys.events.schema.parse_event`, so that every rule is stated
and enforced once. An adapter decides three things: which event kind a name stands for, which of
the sender's ids is the customer's and which the visitor's, and what consent was given. Consent
that is absent stays absent, which counts as none.
"""

from recsys.events.adapters.canonical import Ignored, Translated, read_lax
from recsys.events.adapters.ga4 import GA4Body, GA4Event, measurement_event
from recsys.events.adapters.ga4_export import GA4Row, row_event
from recsys.events.adapters.segment import SegmentConsent, SegmentMessage, message_event

__all__ = [
    "GA4Body",
    "GA4Event",
    "GA4Row",
    "Ignored",
    "SegmentConsent",
    "SegmentMessage",
    "Translated",
    "measurement_event",
    "message_event",
    "read_lax",
    "row_event",
]
