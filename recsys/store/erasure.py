"""The receipt of an erasure: what was removed of a person, and how far the event log is cleared."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows an erasure removed, place by place; `answers` stay without their person."""

    history: int = 0
    account: int = 0
    waiting: int = 0
    profiles: int = 0
    identities: int = 0
    answers: int = 0
    rejected_lines: int = 0


@dataclass(frozen=True, slots=True)
class Erasure:
    """The receipt of an erasure. `log_time` is None until the event log was cleared as well."""

    receipt: str
    time: float
    removed: Removed
    log_time: float | None = None
    log_rows: int | None = None
