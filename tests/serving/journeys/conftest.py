"""One running service for all tests that meet a shop of coffee and tea and leave it as it was.

Each test brings people of its own; one that changes items puts them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from running_service import Service, patient_config

from recsys.bundle.bundle import Bundle


@pytest.fixture(scope="session")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None], bundle: Bundle
) -> Iterator[Service]:
    """Two workers over the small shop; tea is a sensitive category."""
    workspace = tmp_path_factory.mktemp("shared-service")
    publish(workspace / "published", "v1")
    reasons = {"language": "en", "sensitive_categories": ["Drinks > Tea"]}
    config = patient_config(workspace, reasons=reasons)
    with Service.start(workspace, workers=2, config=config) as service:
        with service.client() as client:
            client.put_items([msgspec.to_builtins(item) for item in bundle.catalog.items])
        yield service
