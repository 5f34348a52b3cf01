"""A long run reports as a bar on a terminal and as log lines elsewhere."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from training.progress import LogLine, Steps
from training.run_context import Provenance, RunContext

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?P<level>[A-Z]+) training\.night "
    r"step=(?P<step>\w+) (seconds=(?P<seconds>[\d.]+) )?(peak_mb=(?P<peak>\d+) )?"
    r"message=(?P<text>.+)"
)


@pytest.fixture
def log() -> io.StringIO:
    """What the log of the run `night` receives, as lines of text."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLine())
    logger = logging.getLogger("training.night")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


def lines(log: io.StringIO) -> list[tuple[str, str, str]]:
    """(level, step, message) of every line; each must be one that a machine can read."""
    read = []
    for line in log.getvalue().splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        read.append((match["level"], match["step"], json.loads(match["text"])))
    return read


def test_where_stdout_is_no_terminal_each_step_and_sub_step_is_one_log_line(
    log: io.StringIO,
) -> None:
    drawn = io.StringIO()
    steps = Steps(Console(file=drawn), "night")
    with steps.step("build") as step:
        context = RunContext(Provenance("v", "r", "d"), reporter=step)
        context.within("fit").report_progress("als")
        context.count(1, 3)
        context.within("fit").report_progress("ease")
    with steps.step("gate") as step:
        step.log("refused\nbecause")
    assert lines(log) == [
        ("INFO", "build", "fit: als"),
        ("INFO", "build", "fit: ease"),
        ("INFO", "build", "done"),
        ("INFO", "gate", "refused"),
        ("INFO", "gate", "because"),
        ("INFO", "gate", "done"),
    ]
    assert drawn.getvalue() == ""


def test_steps_and_sub_steps_carry_their_seconds_and_steps_their_memory(log: io.StringIO) -> None:
    steps = Steps(Console(file=io.StringIO()), "night")
    with steps.step("build") as step:
        step.report_progress("als")
    sub_step, done = (LINE.fullmatch(line) for line in log.getvalue().splitlines())
    assert sub_step is not None
    assert done is not None
    assert float(done["seconds"]) >= float(sub_step["seconds"]) >= 0
    assert sub_step["peak"] is None
    assert int(done["peak"]) == round(steps.costs[0].peak_mb) > 0


def test_a_failed_step_is_logged_as_an_error_with_its_reason(log: io.StringIO) -> None:
    with (
        pytest.raises(ValueError, match="no data"),
        Steps(Console(quiet=True), "night").step("read"),
    ):
        raise ValueError("no data")
    assert lines(log) == [("ERROR", "read", "failed: ValueError: no data")]


def test_a_warning_keeps_its_level_and_its_text_stays_on_one_line(log: io.StringIO) -> None:
    with Steps(Console(quiet=True), "night").step("check") as step:
        step.log('WARN prices: "a"\tb', level=logging.WARNING)
    assert lines(log)[0] == ("WARNING", "check", 'WARN prices: "a"\tb')


def test_on_a_terminal_a_line_with_the_cost_stays_and_nothing_is_logged(log: io.StringIO) -> None:
    drawn = io.StringIO()
    steps = Steps(Console(file=drawn, force_terminal=True, width=80), "night")
    with steps.step("build") as step:
        step.report_progress("als")
        step.log("two models")
    assert "✓" in drawn.getvalue()
    assert "two models" in drawn.getvalue()
    assert log.getvalue() == ""


def test_the_status_file_names_the_step_that_is_under_way(tmp_path: Path) -> None:
    steps = Steps(Console(quiet=True), "night", status=tmp_path / "night.json")
    for name in ("read", "check"):
        with steps.step(name):
            assert json.loads((tmp_path / "night.json").read_text())["step"] == name


def test_a_context_draws_the_same_numbers_at_every_call_and_is_silent_by_default() -> None:
    context = RunContext(Provenance("v", "r", "d"), seed=3)
    assert context.rng().random() == context.rng().random()
    context.report_progress("nothing happens")
    context.log("nothing happens")
    context.count(1, 2)
