"""`python -m recsys.synthetic FOLDER`: writes the sample shop as canonical Parquet files.

The same command always gives the same rows: shop and history are drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.synthetic.history import simulate
from recsys.synthetic.shop import ShopConfig, make_shop

SAMPLE: Final = ShopConfig(customers=120, items=150, days=60)
SEED: Final = 7
_TIMES: Final = (datetime,)
"""Types that Parquet keeps as they are."""


def sample_tables() -> dict[str, pa.Table]:
    """File name without ending → rows: `events`, `items` and `profiles` of the sample shop."""
    rng = np.random.default_rng(SEED)
    shop = make_shop(SAMPLE, rng=rng)
    events = [event for batch in simulate(shop, days=SAMPLE.days, rng=rng) for event in batch]
    return {
        "events": _table(events),
        "items": _table(shop.items),
        "profiles": _table(shop.profiles),
    }


def _table(records: Sequence[msgspec.Struct]) -> pa.Table:
    rows = [msgspec.to_builtins(record, builtin_types=_TIMES) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def main() -> None:
    """Writes the files below the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m recsys.synthetic", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in sample_tables().items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", compression_level=19)


if __name__ == "__main__":
    main()
