"""Figures of a search for MLflow: how it went, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.search.trials import TrialRecord

SHOWN: Final = 20
"""Bars in a figure."""
_COLORS: Final = {"complete": "#0b6e4f", "pruned": "#c9b26d", "refused": "#a04668"}


def history(trials: Sequence[TrialRecord]) -> Figure:
    """A point per trial, coloured by how it ended, and the best so far as a line."""
    figure, panel = _figure(height=4.0)
    for state, color in _COLORS.items():
        points = [
            (number, trial.value)
            for number, trial in enumerate(trials, start=1)
            if trial.state == state and trial.value is not None
        ]
        if points:
            places, values = zip(*points, strict=True)
            panel.scatter(places, values, s=14, color=color, label=state)
    panel.plot(
        range(1, len(trials) + 1),
        [trial.incumbent for trial in trials],
        color="black",
        label="best",
    )
    panel.set_xlabel("trial")
    panel.set_ylabel("value, 1 where the search began")
    panel.set_title("History of the search")
    panel.legend(fontsize="small")
    return figure


def bars(values: Mapping[str, float], *, title: str) -> Figure:
    """The largest values, one bar each, the largest on top."""
    largest = sorted(values.items(), key=lambda pair: -pair[1])[:SHOWN]
    figure, panel = _figure(height=1.0 + 0.3 * max(len(largest), 1))
    panel.barh([name for name, _ in largest], [value for _, value in largest], color="#0b6e4f")
    panel.invert_yaxis()
    panel.set_title(title)
    panel.set_xlabel("of the value where the search began")
    return figure


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
