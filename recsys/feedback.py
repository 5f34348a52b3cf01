"""What a person has said about items: a "no" is taken seriously until it is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from recsys.store import StoredEvent

REFUSALS: Final = frozenset({"not_interested", "never_again", "wrong"})
SNOOZE: Final = timedelta(days=30)
"""How long a snoozed item rests."""


def refused_items(events: Sequence[StoredEvent], *, now: datetime) -> set[str]:
    """Ids of the items that must not be shown: the last word about each item counts.

    `not_interested`, `never_again` and `wrong` hold until `undo` or `like`; `snooze` holds for
    SNOOZE. Events are oldest first.
    """
    refused: set[str] = set()
    for event in events:
        if event.kind != "feedback":
            continue
        resting = event.action == "snooze" and event.time + SNOOZE.total_seconds() > now.timestamp()
        if event.action in REFUSALS or resting:
            refused.add(event.item_id)
        else:
            refused.discard(event.item_id)
    return refused
