"""Tables of figures: the same headings and rows for the terminal (rich) and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE
from rich.table import Table

if TYPE_CHECKING:  # `recsys --help` loads no NumPy
    from recsys.evaluation.intervals import Estimate

Rows = Sequence[Sequence[str]]


def terminal_table(
    headings: Sequence[str],
    rows: Rows,
    *,
    title: str | None = None,
    text_columns: Collection[int] = (0,),
    styles: Sequence[str | None] = (),
) -> Table:
    """Text is left-aligned and may break over several lines, figures are right-aligned and whole.

    `text_columns` are the numbers of the columns that hold text. `styles` holds a rich style per
    row; rows beyond its end have none.
    """
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title)
    for column, heading in enumerate(headings):
        is_text = column in text_columns
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(heading, justify=justify, no_wrap=not is_text, overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*row, style=styles[number] if number < len(styles) else None)
    return table


def markdown_table(
    headings: Sequence[str], rows: Rows, *, text_columns: Collection[int] = (0,)
) -> str:
    """The table in Markdown, without a line break at its end."""
    alignments = ["---" if column in text_columns else "---:" for column in range(len(headings))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, alignments, *rows))


def figure(value: float | None, form: str = ".4f") -> str:
    """The number by its format; blank where it is None, NaN or infinite."""
    return "" if value is None or not math.isfinite(value) else f"{value:{form}}"


def figure_with_interval(estimate: Estimate | None, form: str = ".4f") -> str:
    """`value [low, high]`; blank for None."""
    if estimate is None:
        return ""
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
