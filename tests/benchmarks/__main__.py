"""`make bench`: timings and sizes beside named peers, as tables and in build/bench.json.

python -m tests.benchmarks               all parts but `torture`
python -m tests.benchmarks models        one part; its rows replace those of before in the file
python -m tests.benchmarks --help        the parts
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from recsys.atomic_files import write_atomically
from training.tables import figure, terminal_table

PARTS: Final = {
    "models": "fitting at the size of a large shop: seconds and GB",
    "retrieval": "20 of 100,000 items by each model family: milliseconds of one query",
    "ranker": "the second stage for one query beside LightGBM's prediction",
    "storage": "durable events, the newest of a person, the log as training data",
    "serving": "the service under a shop's mix beside two peers; memory; larger catalogues",
    "resilience": "a hundred bundle swaps under load, a locked store",
    "torture": "a hundred kills of the service while events are sent; only where named",
}
SEPARATE: Final = ("torture",)
"""Parts that take too long to run with the others."""
RESULT: Final = Path("build/bench.json")


def main() -> None:
    parser = _parser()
    names = parser.parse_args().parts or [name for name in PARTS if name not in SEPARATE]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; use {', '.join(PARTS)}")
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    # SIGTERM ends like Ctrl-C: through the `finally` of everything that is running.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # A log file has no width: tables get room there.
    console = Console(width=None if sys.stdout.isatty() else 140)
    for number, name in enumerate(names, start=1):
        console.print(f"▸ {name} ({number} of {len(names)}): {PARTS[name]}", highlight=False)
        started = time.monotonic()
        with console.status(name), _no_process_left():
            measured = importlib.import_module(f"tests.benchmarks.bench_{name}").rows()
        results.update(measured)
        console.print(table_of(measured))
        console.print(f"✓ {name} {time.monotonic() - started:.0f} s", highlight=False)
        RESULT.parent.mkdir(exist_ok=True)
        write_atomically(RESULT, (json.dumps(results, indent=1) + "\n").encode())
    console.print(f"written to {RESULT}")


def table_of(measured: dict[str, Any]) -> Table:
    """A row per figure: value, unit, the peer and ours over the peer's."""
    rows = [
        [
            name,
            figure(row["value"], ",.3g" if row["value"] < 100 else ",.0f"),
            figure(row["ratio"], ".2f"),
            row["unit"],
            row["peer"] or "",
        ]
        for name, row in measured.items()
    ]
    return terminal_table(["name", "value", "ratio", "unit", "peer"], rows, text_columns=(0, 3, 4))


def _parser() -> argparse.ArgumentParser:
    parts = "\n".join(f"  {name:<11} {text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"Timings and sizes beside named peers, to {RESULT}.\n\nparts:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all but torture")
    return parser


@contextmanager
def _no_process_left() -> Iterator[None]:
    """Ends every process that the part has started, also where it fails or is interrupted."""
    try:
        yield
    finally:
        left = psutil.Process().children(recursive=True)
        for process in left:
            process.terminate()
        _, alive = psutil.wait_procs(left, timeout=10)
        for process in alive:
            process.kill()


if __name__ == "__main__":
    main()
