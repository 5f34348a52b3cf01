"""The published file, by the anchor protocol: what is imported equals a direct filtering of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog
from recsys.events.schema import PURCHASE
from recsys.events.weighting import Weighting
from recsys.store.sqlite import SQLiteStore
from training.datasets import DataFile, ImportOptions, ImportSummary, import_files
from training.workspace import Workspace

CUT = datetime(2011, 11, 10, tzinfo=UTC)
END = datetime(2011, 12, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def retail(shared_data: Path) -> Path:
    path = shared_data / "online-retail" / "online_retail.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="module")
def clean(retail: Path) -> Any:
    lines = pd.read_parquet(retail)
    known = lines.CustomerID.notna() & (lines.Quantity > 0) & (lines.UnitPrice > 0)
    purchases = lines[known].copy()
    purchases["sold_at"] = pd.to_datetime(purchases.InvoiceDate, utc=True)
    purchases["user"] = "u:" + purchases.CustomerID.astype(int).astype(str)
    return purchases


@pytest.fixture(scope="module")
def imported(
    retail: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ImportSummary, Workspace]:
    workspace = Workspace(tmp_path_factory.mktemp("retail")).create()
    store = SQLiteStore(workspace.store)
    try:
        options = ImportOptions(protocol="anchor", consent="assumed")
        summary = import_files(
            [DataFile(retail)], options, workspace=workspace, store=store, at=END
        )
    finally:
        store.close()
    return summary, workspace


@pytest.fixture(scope="module")
def history(imported: tuple[ImportSummary, Workspace]) -> TrainingData:
    log = EventLog(imported[1].event_log)
    return read_training_data(log, as_of=END, weighting=Weighting())


def test_every_line_is_a_purchase_or_has_its_reason(
    imported: tuple[ImportSummary, Workspace], clean: Any
) -> None:
    (file,) = imported[0].files
    assert (file.rows, file.rejected) == (541_909, 0)
    repeated = file.kept_out["duplicate line"]
    assert file.rows - sum(file.kept_out.values()) + repeated == len(clean) == 397_884
    assert file.events == clean.InvoiceNo.nunique() == 18_532
    assert file.items == clean.StockCode.nunique() == 3_665
    assert imported[0].archived == file.events


def test_users_items_and_invoices_equal_the_clean_purchases(
    history: TrainingData, clean: Any
) -> None:
    assert set(history.users) == set(clean.user)
    assert set(history.items) == set(clean.StockCode)
    timeline = history.timeline
    assert set(timeline.kinds.tolist()) == {PURCHASE}
    pairs = clean[["InvoiceNo", "StockCode"]].drop_duplicates()
    assert len(timeline.items) == len(pairs)
    bought = clean.drop_duplicates(["InvoiceNo", "StockCode"]).groupby("user").size()
    counts = dict(zip(history.users, np.diff(timeline.starts).tolist(), strict=True))
    assert counts == bought.to_dict()


def test_popularity_of_the_imported_history_has_the_published_recall(
    history: TrainingData, clean: Any
) -> None:
    timeline = history.timeline
    before = timeline.times < CUT.timestamp()
    seen, later = set(timeline.users[before].tolist()), set(timeline.users[~before].tolist())
    both = sorted(seen & later)
    assert len(both) == 1_376
    split = clean.sold_at < CUT
    assert len(set(clean.user[split]) & set(clean.user[~split])) == 1_376

    buyers = np.unique(np.stack([timeline.items[before], timeline.users[before]]), axis=1)[0]
    popular = np.argsort(-np.bincount(buyers, minlength=len(history.items)), kind="stable")[:20]
    truth = {
        user: set(timeline.items[~before & (timeline.users == user)].tolist()) for user in both
    }
    recalls = [len(truth[user] & set(popular.tolist())) / len(truth[user]) for user in both]
    assert np.mean(recalls) == pytest.approx(0.0614, abs=0.00005)
