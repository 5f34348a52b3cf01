"""Tables say the same in the terminal and in Markdown."""

from __future__ import annotations

import io

from rich.console import Console

from recsys.evaluation.intervals import Estimate
from training.tables import figure, figure_with_interval, markdown_table, terminal_table

HEADINGS = ["model", "recall"]
ROWS = [["als", "0.1000"], ["a name that is long", ""]]


def test_text_is_aligned_left_and_figures_right_in_both_forms() -> None:
    assert markdown_table(HEADINGS, ROWS).splitlines() == [
        "| model | recall |",
        "| --- | ---: |",
        "| als | 0.1000 |",
        "| a name that is long |  |",
    ]
    table = terminal_table(HEADINGS, ROWS, title="figures")
    assert [column.justify for column in table.columns] == ["left", "right"]


def test_every_row_of_the_terminal_table_is_printed() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(HEADINGS, ROWS, title="figures"))
    assert "a name that is long" in out.getvalue()
    assert "0.1000" in out.getvalue()


def test_a_narrow_terminal_folds_text_and_keeps_figures_whole() -> None:
    out = io.StringIO()
    Console(file=out, width=20).print(terminal_table(HEADINGS, ROWS))
    assert "0.1000" in out.getvalue()
    assert "…" not in out.getvalue()
    assert "".join(out.getvalue().split()).endswith("anamethatislong")


def test_what_is_no_number_is_blank() -> None:
    assert figure(None) == figure(float("nan")) == ""
    assert figure(0.25, ".1%") == "25.0%"


def test_an_interval_stands_behind_its_value() -> None:
    assert figure_with_interval(Estimate(0.5, 0.4, 0.6, 10)) == "0.5000 [0.4000, 0.6000]"
    assert figure_with_interval(None) == ""
