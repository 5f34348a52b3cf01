"""What a search tried, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial: `value` over the periods that it reached, and the value of the incumbent when it
    ended. Both are relative to the configuration that the search began with."""

    round: int
    turn: str
    settings: Mapping[str, Any]
    state: str
    value: float | None
    incumbent: float
