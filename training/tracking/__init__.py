"""MLflow, and the only package that imports it: runs, versions, and the bundle as a model flavor.

A run holds configuration, lineage, metrics, figures, reports and the bundle; a registered version
points at the bundle; the aliases `champion` and `challenger` say what each version is for. No user
ids, histories or search texts are written: callers give the public form of their reports.

As a flavor this module has MLflow's usual functions, so that a version can be tried without us:

    mlflow models predict --env-manager local -m models:/recsys@champion -i questions.json
"""

from __future__ import annotations

import os

# MLflow decides at its first import whether to report usage to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from training.tracking.flavor import (
    _load_pyfunc,
    load_model,
    log_model,
    save_model,
)
from training.tracking.registry import ModelVersion, Tracking
from training.tracking.run import Run, TrackingError

__all__ = [
    "ModelVersion",
    "Run",
    "Tracking",
    "TrackingError",
    "_load_pyfunc",
    "load_model",
    "log_model",
    "save_model",
]
