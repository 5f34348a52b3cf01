"""`make bench`: every benchmark, printed as a table and written to build/bench.json.

python -m tests.benchmarks            all
python -m tests.benchmarks models     one of them
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BENCHMARKS = ("models", "retrieval", "ranker", "storage", "serving", "resilience")
ALONE = ("torture",)
"""What takes too long to be among the others."""
RESULT = Path("build/bench.json")


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS + ALONE]
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]!r}; use {', '.join(BENCHMARKS + ALONE)}")
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    console = Console()
    for name in names:
        with console.status(name):
            measured = importlib.import_module(f"tests.benchmarks.bench_{name}").rows()
        results.update(measured)
        console.print(table_of(name, measured))
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"written to {RESULT}")


def table_of(name: str, measured: dict[str, Any]) -> Table:
    table = Table(title=name, title_justify="left")
    for column in ("name", "value", "unit", "peer", "ratio"):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left")
    for row_name, row in measured.items():
        ratio = row["ratio"]
        table.add_row(
            row_name,
            f"{row['value']:,.3g}" if row["value"] < 100 else f"{row['value']:,.0f}",
            row["unit"],
            row["peer"] or "",
            "" if ratio is None else f"{ratio:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
