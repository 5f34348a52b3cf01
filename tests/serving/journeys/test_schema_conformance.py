"""The service holds what /openapi.json promises, whatever it is sent; and its log tells nobody what
that was. `make fuzz` tries 5,000 cases, this suite the first few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from running_service import Service, patient_config

from recsys.bundle.bundle import Bundle
from serving.use_cases.pagination import answered_at

CASES = int(os.environ.get("RECSYS_FUZZ_CASES", "70"))
"""How many requests are made up at least."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
TELLING = 8
"""Shorter texts may stand in a log by chance."""


@dataclass(frozen=True)
class Trial:
    """What schemathesis sent and what it thought of the answers."""

    output: str
    exit_code: int
    statuses: Counter[int]
    sent: set[str]
    """Every text in a body that is long enough to be known again."""


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None], bundle: Bundle
) -> Iterator[Service]:
    workspace = tmp_path_factory.mktemp("described")
    publish(workspace / "published", "v1")
    with Service.start(workspace, workers=1, config=patient_config(workspace)) as service:
        with service.client() as client:
            client.put_items([msgspec.to_builtins(item) for item in bundle.catalog.items])
        yield service


@pytest.fixture(scope="module")
def trial(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("trial")
    document = json.loads(service.get("/openapi.json").text)
    operations = sum(
        "requestBody" in o for path in document["paths"].values() for o in path.values()
    )
    command = [
        Path(sys.executable).with_name("st"),
        "run",
        f"{service.url}/openapi.json",
        f"--checks={','.join(CHECKS)}",
        # The systematic phase, which a long trial has first, makes some thousands by itself.
        f"--max-examples={min(-(-CASES // operations), 50)}",
        f"--phases={'examples,coverage,fuzzing' if CASES > 1000 else 'examples,fuzzing'}",
        "--seed=7",
        "--suppress-health-check=all",
        "--report=har",
        f"--report-har-path={folder / 'sent.har'}",
        "--continue-on-failure",
        "--no-shrink",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    entries = json.loads((folder / "sent.har").read_text())["log"]["entries"]
    bodies = [entry["request"].get("postData", {}).get("text", "") for entry in entries]
    return Trial(
        output=done.stdout + done.stderr,
        exit_code=done.returncode,
        statuses=Counter(entry["response"]["status"] for entry in entries),
        sent={text for body in bodies for text in texts(body)},
    )


def texts(body: str) -> Iterator[str]:
    """The texts in a JSON body, and their keys, in the form in which a log would show them."""
    try:
        yield from strings(json.loads(body))
    except ValueError:
        yield body


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from strings(inner)
        case list():
            for inner in value:
                yield from strings(inner)


def test_every_answer_is_as_described(trial: Trial) -> None:
    assert trial.exit_code == 0, trial.output
    assert sum(trial.statuses.values()) >= CASES
    assert not [status for status in trial.statuses if status >= 500], trial.statuses


def test_nothing_that_was_sent_stands_in_the_log(trial: Trial, service: Service) -> None:
    log = (service.workspace / "service.log").read_text(errors="replace")
    described = service.get("/openapi.json").text
    # The answers' own ids are logged, and may be sent back (`continue_from`).
    given = {text for text in trial.sent if answered_at(text) is not None}
    texts_sent = [
        text for text in trial.sent - given if len(text) >= TELLING and text not in described
    ]
    assert len(texts_sent) > CASES / 10
    assert [text for text in texts_sent if text in log or repr(text)[1:-1] in log] == []
    assert "Traceback" not in log
