"""Checks of the event log before training: each PASS, WARN or FAIL, in words and with examples."""

from __future__ import annotations

from recsys.events.checks.checks import check_log
from recsys.events.checks.thresholds import Check, CheckRules, Status, worst

__all__ = ["Check", "CheckRules", "Status", "check_log", "worst"]
