"""Figures published on the sets in the folder, by the same protocol, to stand beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PUBLISHED: Final[Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "gowalla": {
        "ItemCF": {"recall_at_20": 0.1570, "ndcg_at_20": 0.1214},
        "MF-BPR": {"recall_at_20": 0.1627, "ndcg_at_20": 0.1378},
        "SLIM": {"recall_at_20": 0.1699, "ndcg_at_20": 0.1382},
        "EASE": {"recall_at_20": 0.1765, "ndcg_at_20": 0.1467},
        "LightGCN": {"recall_at_20": 0.1820, "ndcg_at_20": 0.1547},
        "GF-CF": {"recall_at_20": 0.1849, "ndcg_at_20": 0.1518},
        "UltraGCN": {"recall_at_20": 0.1862, "ndcg_at_20": 0.1580},
        "SimpleX": {"recall_at_20": 0.1872, "ndcg_at_20": 0.1557},
        "BSPM-EM": {"recall_at_20": 0.1920, "ndcg_at_20": 0.1597},
    },
    "serenade": {
        "VMIS-kNN (m 500, k 50)": {"mrr_at_20": 0.3277, "hit_rate_at_20": 0.6402},
        "VMIS-kNN, tuned on validation": {"mrr_at_20": 0.3401},
    },
    "online-retail": {
        "popularity of the last 30 days": {
            "recall_at_20": 0.0923,
            "ndcg_at_20": 0.1359,
            "hit_rate_at_20": 0.733,
            "new_items/recall_at_20": 0.0756,
            "new_items/ndcg_at_20": 0.0839,
        },
        "personal frequency in invoices": {
            "recall_at_20": 0.2694,
            "ndcg_at_20": 0.3580,
            "hit_rate_at_20": 0.925,
            "new_items/recall_at_20": 0.0756,
            "new_items/ndcg_at_20": 0.0839,
        },
        "ALS d = 64 on decayed counts": {
            "recall_at_20": 0.2376,
            "ndcg_at_20": 0.3102,
            "hit_rate_at_20": 0.891,
            "new_items/recall_at_20": 0.1122,
            "new_items/ndcg_at_20": 0.1086,
        },
        "two-stage, first try": {
            "recall_at_20": 0.291,
            "ndcg_at_20": 0.384,
            "hit_rate_at_20": 0.93,
            "new_items/recall_at_20": 0.139,
            "new_items/ndcg_at_20": 0.154,
        },
    },
}
"""Set → method → measures. Gowalla: the tables of LightGCN (2020), GF-CF (2021), SimpleX (2021),
UltraGCN (2021) and BSPM (2023). Serenade: Kersbergen et al. (2022). Online Retail: reference runs
of the named methods by the `anchor` protocol."""
