"""What the command line shows of versions and comparisons, as tables and in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE
from rich.table import Table

if TYPE_CHECKING:
    from recsys.experiments.ab_test import ExperimentReport
    from recsys.experiments.summary import ShopFigures
    from training.pipeline.compare import Comparison
    from training.pipeline.experiments import Record
    from training.tracking import ModelVersion

MEASURES: Final = {
    "recall_at_20": "recall@20",
    "ndcg_at_20": "ndcg@20",
    "new_items/recall_at_20": "new items",
}
"""The measures in the table of versions, and their headings."""


def versions_table(found: Sequence[ModelVersion], *, served: str | None) -> Table:
    """One row per version: its bundle, what it is now, and what it measured."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("no.", "model version", "is"):
        table.add_column(heading, no_wrap=True)
    for heading in MEASURES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        marks = [*one.aliases, *(["served"] if one.model_version == served else [])]
        table.add_row(
            one.version,
            one.model_version,
            ", ".join(marks),
            *(_figure(one.metrics, name) for name in MEASURES),
        )
    return table


def comparison_table(found: Comparison, *, names: Collection[str] | None = None) -> Table:
    """One row per measure (all, or those in `names`): both values and their paired difference.

    A difference is coloured where its interval leaves zero out.
    """
    table = Table(
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"Held out {found.cut:%Y-%m-%d} to {found.until:%Y-%m-%d}",
    )
    table.add_column("measure", overflow="fold")
    for heading in (
        f"no. {found.first.version}",
        f"no. {found.second.version}",
        "difference",
        "95% interval",
        "n",
    ):
        table.add_column(heading, justify="right")
    for name, difference in found.differences.items():
        if not difference.customers or (names is not None and name not in names):
            continue
        color = "green" if difference.low > 0 else "red" if difference.high < 0 else "default"
        table.add_row(
            name,
            *(f"{estimates[name].value:.4f}" for estimates in found.values),
            f"[{color}]{difference.value:+.4f}[/]",
            f"{difference.low:+.4f} to {difference.high:+.4f}",
            str(difference.customers),
        )
    return table


def experiment_table(report: ExperimentReport, record: Record) -> Table:
    """One row per variant and measure: its value, interval, and lift over the control, coloured
    where the interval of the difference leaves zero out."""
    table = Table(
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"{record.id}: {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC",
    )
    for heading in ("measure", "variant"):
        table.add_column(heading, no_wrap=True)
    for heading in ("persons", "lists", "value", "95% interval", "lift", "its interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    compared = {(one.measure, one.challenger): one for one in report.comparisons}
    for measure in report.variants[0].measures:
        for variant in report.variants:
            found = variant.measures[measure]
            low, high = found.interval(confidence=report.rules.confidence)
            one = compared.get((measure, variant.name))
            color = {1: "green", -1: "red"}.get(0 if one is None else one.direction, "default")
            value, *bounds = (None, None, None) if one is None else one.lift
            table.add_row(
                measure.replace("_", " "),
                variant.name,
                str(variant.persons),
                str(variant.answers),
                f"{found.value:.4f}",
                f"{low:.4f} to {high:.4f}",
                "" if value is None else f"[{color}]{value:+.1%}[/]",
                "" if one is None else f"{bounds[0]:+.1%} to {bounds[1]:+.1%}",
            )
    return table


def kpi_table(found: ShopFigures) -> tuple[Table, Table]:
    """The days of every placement, and those of the shop."""
    placements = Table(box=SIMPLE, padding=(0, 1, 0, 0), title="By placement")
    for heading in ("date", "placement"):
        placements.add_column(heading, no_wrap=True)
    counted = ("lists", "persons", "seen", "clicked", "carted", "bought")
    for heading in (*counted, "click rate", "revenue"):
        placements.add_column(heading, justify="right")
    for row in found.placements:
        placements.add_row(
            row.date,
            row.placement,
            *(str(getattr(row, name)) for name in counted),
            f"{row.click_rate:.1%}",
            f"{row.revenue:.2f}",
        )
    days = Table(box=SIMPLE, padding=(0, 1, 0, 0), title="Everybody who was answered")
    days.add_column("date", no_wrap=True)
    for heading in ("persons", "returning", "orders", "revenue", "order value"):
        days.add_column(heading, justify="right")
    for day in found.days:
        value = "" if day.order_value is None else f"{day.order_value:.2f}"
        days.add_row(
            day.date,
            str(day.persons),
            str(day.returning),
            str(day.orders),
            f"{day.revenue:.2f}",
            value,
        )
    return placements, days


def remedy(champion: ModelVersion | None, served: str | None) -> str | None:
    """What to do where the pointer and MLflow's champion disagree; None where they agree."""
    if champion is None:
        if served is None:
            return "Nothing is served yet; run recsys nightly."
        return f"{served} is served, but MLflow names no champion; name it with recsys promote."
    if served == champion.model_version:
        return None
    return (
        f"The service follows {served or 'nothing'}, not MLflow's champion: a run was stopped on "
        f"its way. The next nightly run mends it, or now: recsys promote {champion.version}"
    )


def _figure(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else ""
