"""What the command line shows of versions and comparisons, as tables and in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table

from training.tables import figure, terminal_table

if TYPE_CHECKING:  # `recsys --help` loads neither MLflow nor NumPy
    from recsys.experiments.ab_test import ExperimentReport
    from recsys.experiments.figures import ShopFigures
    from training.pipeline.compare import Comparison
    from training.pipeline.experiments import Record
    from training.tracking import ModelVersion

MEASURES: Final = {
    "recall_at_20": "recall@20",
    "ndcg_at_20": "ndcg@20",
    "new_items/recall_at_20": "new items",
}
"""The measures in the table of versions, and their headings."""


def versions_table(versions: Sequence[ModelVersion], *, served: str | None) -> Table:
    """One row per version: its bundle, what it is now, and what it measured."""
    rows = [
        [
            version.version,
            version.model_version,
            ", ".join([*version.aliases, *(["served"] if version.model_version == served else [])]),
            *(figure(version.metrics.get(name)) for name in MEASURES),
        ]
        for version in versions
    ]
    return terminal_table(
        ["no.", "model version", "is", *MEASURES.values()], rows, text_columns=range(3)
    )


def comparison_table(comparison: Comparison, *, names: Collection[str] | None = None) -> Table:
    """One row per measure (all, or those in `names`): both values and their paired difference.

    A difference is coloured where its interval leaves zero out.
    """
    rows = []
    for name, difference in comparison.differences.items():
        if not difference.customers or (names is not None and name not in names):
            continue
        color = "green" if difference.low > 0 else "red" if difference.high < 0 else "default"
        rows.append(
            [
                name,
                *(figure(estimates[name].value) for estimates in comparison.values),
                f"[{color}]{difference.value:+.4f}[/]",
                f"{difference.low:+.4f} to {difference.high:+.4f}",
                str(difference.customers),
            ]
        )
    versions = (f"no. {comparison.first.version}", f"no. {comparison.second.version}")
    return terminal_table(
        ["measure", *versions, "difference", "95% interval", "n"],
        rows,
        title=f"Held out {comparison.cut:%Y-%m-%d} to {comparison.until:%Y-%m-%d}",
    )


def experiment_table(report: ExperimentReport, record: Record) -> Table:
    """One row per variant and measure: its value, interval, and lift over the control, coloured
    where the interval of the difference leaves zero out."""
    rows = []
    comparisons = {(entry.measure, entry.challenger): entry for entry in report.comparisons}
    for measure in report.variants[0].measures:
        for variant in report.variants:
            measured = variant.measures[measure]
            low, high = measured.interval(confidence=report.rules.confidence)
            compared = comparisons.get((measure, variant.name))
            direction = 0 if compared is None else compared.direction
            color = {1: "green", -1: "red"}.get(direction, "default")
            value, *bounds = (None, None, None) if compared is None else compared.lift
            rows.append(
                [
                    measure.replace("_", " "),
                    variant.name,
                    str(variant.persons),
                    str(variant.answers),
                    f"{measured.value:.4f}",
                    f"{low:.4f} to {high:.4f}",
                    "" if value is None else f"[{color}]{value:+.1%}[/]",
                    "" if compared is None else f"{bounds[0]:+.1%} to {bounds[1]:+.1%}",
                ]
            )
    figures = ("persons", "lists", "value", "95% interval", "lift", "its interval")
    return terminal_table(
        ["measure", "variant", *figures],
        rows,
        title=f"{record.id}: {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC",
        text_columns=range(2),
    )


def kpi_table(figures: ShopFigures) -> tuple[Table, Table]:
    """The days of every placement, and those of the shop."""
    counted = ("lists", "persons", "seen", "clicked", "carted", "bought")
    placements = [
        [
            row.date,
            row.placement,
            *(str(getattr(row, name)) for name in counted),
            f"{row.click_rate:.1%}",
            f"{row.revenue:.2f}",
        ]
        for row in figures.placements
    ]
    days = [
        [
            day.date,
            *(str(count) for count in (day.persons, day.returning, day.orders)),
            f"{day.revenue:.2f}",
            figure(day.order_value, ".2f"),
        ]
        for day in figures.days
    ]
    return (
        terminal_table(
            ["date", "placement", *counted, "click rate", "revenue"],
            placements,
            title="By placement",
            text_columns=range(2),
        ),
        terminal_table(
            ["date", "persons", "returning", "orders", "revenue", "order value"],
            days,
            title="Everybody who was answered",
        ),
    )


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
