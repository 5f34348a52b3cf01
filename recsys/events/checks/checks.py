"""The checks: each computes one figure over the log and grades it by the thresholds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from typing import Final

from recsys.events.checks.thresholds import Check, CheckRules, Status
from recsys.events.checks.window import Window, moment, open_window, share_of
from recsys.events.log import EventLog

EARLIEST: Final = date(2000, 1, 1)
"""Earlier events count as wrong times: they come from a clock that was never set."""


def check_log(
    log: EventLog,
    *,
    catalog_ids: Collection[str],
    as_of: datetime,
    since: datetime,
    rules: CheckRules,
) -> list[Check]:
    """All checks over the events in [since, as_of), in a fixed order; the log is only read.

    Events later than `as_of` or before the year 2000 count only in the check of wrong times.
    Without an event in the window there is one check, a FAIL.
    """
    with open_window(log, catalog_ids=catalog_ids, as_of=as_of, since=since, rules=rules) as window:
        if not window.events:
            span = f"between {since:%Y-%m-%d} and {as_of:%Y-%m-%d}"
            return [Check("time range", Status.FAIL, f"there is no event {span}; import events")]
        return [check(window) for check in CHECKS]


def _time_range(log: Window) -> Check:
    name, rules = "time range", log.rules
    first, last, days = log.numbers(
        "SELECT epoch(min(utc)), epoch(max(utc)), 1 + date_diff('day', min(utc), max(utc)) FROM log"
    )
    stale = (log.as_of.timestamp() - last) / 86_400.0
    message = f"{log.events:,} events over {days:,.0f} days, {_day(first)} to {_day(last)}"
    if log.events < rules.events_fail or days < rules.days_fail:
        needed = f"{rules.events_fail:,} events over {rules.days_fail} days"
        return Check(name, Status.FAIL, f"{message}: too little, at least {needed} are needed")
    if log.events < rules.events_warn or days < rules.days_warn:
        return Check(name, Status.WARN, f"{message}: little to learn from")
    if stale > rules.stale_days_warn:
        late = f"the newest is {stale:.1f} days old; see whether events still arrive"
        return Check(name, Status.WARN, f"{message}: {late}")
    return Check(name, Status.PASS, message)


UNKNOWN_SQL = "FROM log WHERE item_id IS NOT NULL AND item_id NOT IN (FROM catalog_ids)"


def _unknown_items(log: Window) -> Check:
    name = "unknown items"
    if not log.number("SELECT count(*) FROM catalog_ids"):
        return Check(name, Status.WARN, "the catalogue is empty: items are known by events alone")
    lines = log.number("SELECT count(item_id) FROM log")
    share = share_of(log.number("SELECT count(*) " + UNKNOWN_SQL), lines)
    return log.judged(
        name,
        share,
        f"{share:.1%} of {lines:,} lines name an item that the catalogue lacks",
        (log.rules.unknown_items_warn, log.rules.unknown_items_fail),
        "SELECT item_id || ' (' || count(*) || ' lines)' "
        + UNKNOWN_SQL
        + " GROUP BY item_id ORDER BY count(*) DESC, item_id",
    )


def _duplicates(log: Window) -> Check:
    distinct = log.number("SELECT count(DISTINCT hash(event_id, position)) FROM log")
    again = log.rows - distinct
    return log.judged(
        "duplicates",
        share_of(again, log.rows),
        f"{again:,} of {log.rows:,} rows repeat an event id and position",
        (log.rules.duplicates_warn, log.rules.duplicates_fail),
        "SELECT event_id || ' (' || count(*) || ' times)' FROM log GROUP BY event_id, position "
        "HAVING count(*) > 1 ORDER BY count(*) DESC, event_id",
    )


DEED_SQL = """
hash(coalesce(person, session_id), kind, item_id, date_trunc('second', utc), transaction_id,
     search_term, action, name)
"""
TIMED_SQL = "coalesce(person, session_id) IS NOT NULL AND utc <> date_trunc('day', utc)"
REPEATS_SQL = f"""
FROM (
    SELECT deed, count(*) AS n
    FROM (SELECT {DEED_SQL} AS deed, hash(event_id) AS event FROM log WHERE {TIMED_SQL})
    GROUP BY deed HAVING min(event) <> max(event)
)
"""
REPEATED_SQL = f"""
SELECT any_value(concat_ws(' ', coalesce(person, 'session ' || session_id), kind, item_id,
                           date_trunc('second', utc)))
FROM (SELECT *, {DEED_SQL} AS deed FROM log WHERE {TIMED_SQL})
JOIN (SELECT * {REPEATS_SQL}) AS repeats USING (deed)
GROUP BY deed ORDER BY max(n) DESC, 1
"""


def _repeats(log: Window) -> Check:
    """The same action sent twice under two event ids, as by a double click or a retry.

    Dates without a time (exactly midnight) are left out, since their second is unknown; so are
    events without a person.
    """
    again = log.number("SELECT sum(n - 1) " + REPEATS_SQL)
    return log.judged(
        "repeated content",
        share_of(again, log.rows),
        f"{again:,} of {log.rows:,} rows repeat what the same person did within the same second",
        (log.rules.repeats_warn, log.rules.repeats_fail),
        REPEATED_SQL,
    )


BUSIEST_ITEM_SQL = """
FROM (SELECT item_id AS one, count(*) AS n FROM log WHERE item_id IS NOT NULL GROUP BY item_id)
"""
BUSIEST_PERSON_SQL = """
FROM (SELECT person AS one, count(*) AS n
      FROM log WHERE person IS NOT NULL AND position = 0 GROUP BY person)
"""


def _one_item(log: Window) -> Check:
    busiest = BUSIEST_ITEM_SQL
    share = share_of(log.number("SELECT max(n) " + busiest), log.rows)
    return log.judged(
        "one item",
        share,
        f"one item has {share:.1%} of the lines",
        (log.rules.one_item_warn, log.rules.one_item_fail),
        "SELECT one || ' (' || n || ' lines)' " + busiest + " ORDER BY n DESC, one",
    )


def _one_person(log: Window) -> Check:
    busiest = BUSIEST_PERSON_SQL
    share = share_of(log.number("SELECT max(n) " + busiest), log.events)
    return log.judged(
        "one person",
        share,
        f"one customer or visitor has {share:.1%} of the events",
        (log.rules.one_person_warn, log.rules.one_person_fail),
        "SELECT one || ' (' || n || ' events)' " + busiest + " ORDER BY n DESC, one",
    )


BOTS_SQL = """
FROM (
    SELECT person, max(per_day) AS most_a_day, max(per_minute) AS most_a_minute, sum(n) AS total
    FROM (
        SELECT person, n, per_minute, sum(n) OVER (PARTITION BY person, day) AS per_day
        FROM (
            SELECT person, date_trunc('day', utc) AS day, count(*) AS n,
                count(*) FILTER (utc <> date_trunc('day', utc)) AS per_minute
            FROM log WHERE position = 0 AND person IN (
                SELECT person FROM log WHERE position = 0
                GROUP BY person HAVING count(*) > least({day}, {minute})
            )
            GROUP BY person, date_trunc('day', utc), date_trunc('minute', utc)
        )
    )
    GROUP BY person
)
WHERE most_a_day > {day} OR most_a_minute > {minute}
"""


def _bots(log: Window) -> Check:
    """People who do more in a day or a minute than a human can.

    Dates without a time count for the day alone, since their minute is unknown.
    """
    rules = log.rules
    bots = BOTS_SQL.format(day=rules.bot_events_per_day, minute=rules.bot_events_per_minute)
    count, theirs = log.numbers("SELECT count(*), sum(total) " + bots)
    share = share_of(theirs, log.events)
    return log.judged(
        "bots",
        share,
        f"{count:,.0f} persons made more than {rules.bot_events_per_day:,} events in a day or "
        f"{rules.bot_events_per_minute:,} in a minute: {share:.1%} of all",
        (0.0, rules.bots_fail),
        "SELECT person || ' (' || most_a_day || ' in a day, ' || most_a_minute || ' in a minute)' "
        + bots
        + " ORDER BY total DESC, person",
    )


GAPS_SQL = """
FROM (
    SELECT lag(day) OVER (ORDER BY day) AS before, day AS after
    FROM (SELECT DISTINCT utc::DATE AS day FROM log)
) WHERE after - before > 1
"""


def _empty_days(log: Window) -> Check:
    rules = log.rules
    days = log.number("SELECT 1 + date_diff('day', min(utc), max(utc)) FROM log")
    gap, empty = log.numbers("SELECT max(after - before - 1), sum(after - before - 1) " + GAPS_SQL)
    share = share_of(empty, days)
    status = Status.PASS
    if gap >= rules.gap_days_fail:
        status = Status.FAIL
    elif gap >= rules.gap_days_warn or share > rules.empty_days_warn:
        status = Status.WARN
    examples = log.examples(
        "SELECT 'nothing from ' || (before + 1) || ' to ' || (after - 1) "
        + GAPS_SQL
        + " ORDER BY after - before DESC, after"
    )
    return Check(
        "empty days",
        status,
        f"{share:.1%} of {days:,} days are empty, the longest gap is {gap:.0f} days",
        examples if status else (),
    )


WRONG_TIME_SQL = "FROM every_row WHERE timestamp >= {late} OR timestamp < {early}"


def _clock(log: Window) -> Check:
    rules = log.rules
    late = log.as_of + timedelta(hours=rules.future_hours)
    wrong = WRONG_TIME_SQL.format(late=moment(late), early=moment(EARLIEST))
    count = log.number("SELECT count(*) FILTER (position = 0) " + wrong)
    dates = log.number(
        "SELECT count(*) FROM log WHERE position = 0 AND utc = date_trunc('day', utc)"
    )
    message = (
        f"{count:,} events lie more than {rules.future_hours:g} hours after "
        f"{log.as_of:%Y-%m-%d %H:%M} or before the year {EARLIEST.year}"
    )
    if dates > log.events / 2:
        message += f"; {dates / log.events:.0%} of the times are mere dates"
    return log.judged(
        "clock",
        share_of(count, log.events + count),
        message,
        (rules.wrong_time_warn, rules.wrong_time_fail),
        "SELECT event_id || ' at ' || strftime(utc, '%Y-%m-%dT%H:%M:%SZ') "
        + wrong
        + " ORDER BY utc, event_id",
    )


PRICELESS_SQL = "FROM log WHERE kind = 'purchase' AND item_id IS NOT NULL AND price IS NULL"


def _missing_prices(log: Window) -> Check:
    """Missing prices warn but never fail: only the price features use them."""
    lines = log.number("SELECT count(item_id) FROM log WHERE kind = 'purchase'")
    share = share_of(log.number("SELECT count(*) " + PRICELESS_SQL), lines)
    return log.judged(
        "missing prices",
        share,
        f"{share:.1%} of {lines:,} lines bought have no price",
        (log.rules.missing_prices_warn, 1.0),
        "SELECT item_id || ' (' || count(*) || ' lines)' "
        + PRICELESS_SQL
        + " GROUP BY item_id ORDER BY count(*) DESC, item_id",
    )


NOBODY_SQL = "FROM log WHERE position = 0 AND person IS NULL"


def _nobody(log: Window) -> Check:
    share = share_of(log.number("SELECT count(*) " + NOBODY_SQL), log.events)
    return log.judged(
        "no person",
        share,
        f"{share:.1%} of the events are tied to no person, for want of an id or of consent",
        (log.rules.nobody_warn, log.rules.nobody_fail),
        "SELECT kind || ' (' || count(*) || ' events)' "
        + NOBODY_SQL
        + " GROUP BY kind ORDER BY count(*) DESC, kind",
    )


def _day(epoch_seconds: float) -> str:
    return f"{datetime.fromtimestamp(epoch_seconds, UTC):%Y-%m-%d}"


CHECKS: Final[tuple[Callable[[Window], Check], ...]] = (
    _time_range,
    _unknown_items,
    _duplicates,
    _repeats,
    _one_item,
    _one_person,
    _bots,
    _empty_days,
    _clock,
    _missing_prices,
    _nobody,
)
