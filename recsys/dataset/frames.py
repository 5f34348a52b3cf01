"""Frames (pandas or pyarrow) as Arrow tables and as rows, and the check of their columns."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys.errors import InvalidInput

Frame: TypeAlias = pd.DataFrame | pa.Table


def as_table(frame: Frame, what: str) -> pa.Table:
    """The frame as an Arrow table, the index of a pandas frame left out."""
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pd.DataFrame):
        with warnings.catch_warnings():
            # pyarrow 25 reads the values of times with a zone in a way that pandas 4 will change.
            warnings.filterwarnings("ignore", "Series.values returning", DeprecationWarning)
            return pa.Table.from_pandas(frame, preserve_index=False)
    raise InvalidInput(what, type(frame).__name__, "give a pandas DataFrame or a pyarrow Table")


def check_columns(
    what: str, columns: Collection[str], known: Mapping[str, str], *, required: Collection[str]
) -> None:
    """InvalidInput where a column is unknown, with the nearest known name, or one is missing."""
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"do you mean {near[0]}? " if near else ""
            raise InvalidInput(
                f"{what} column",
                name,
                f"{hint}rename it or leave it out; the columns are {', '.join(known)}",
            )
    for name in required:
        if name not in columns:
            raise InvalidInput(f"{what} columns", list(columns), f"the column {name} is required")


def rows_of(frame: Frame, what: str) -> tuple[list[str], Iterator[dict[str, object]]]:
    """The names of the columns, and each row as its cells that hold something.

    Arrays in cells, as Parquet files have them, are lists.
    """
    if isinstance(frame, pa.Table):
        names, records = list(frame.column_names), frame.to_pylist()
    elif isinstance(frame, pd.DataFrame):
        names, records = [str(name) for name in frame.columns], frame.to_dict(orient="records")
    else:
        raise InvalidInput(what, type(frame).__name__, "give a pandas DataFrame or a pyarrow Table")
    return names, (
        {name: _plain(cell) for name, cell in row.items() if _is_there(cell)} for row in records
    )


def _is_there(cell: object) -> bool:
    return isinstance(cell, list | dict | tuple | np.ndarray) or not pd.isna(cell)


def _plain(cell: object) -> object:
    if isinstance(cell, pd.Timestamp):
        return cell.to_pydatetime(warn=False)
    return cell.tolist() if isinstance(cell, np.ndarray | np.generic) else cell
