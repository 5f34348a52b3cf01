"""`ServingConfig`: paths, address, limits and time-outs of the service."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from recsys.bundle.placements import Tone
from recsys.errors import InvalidConfig
from recsys.events.adapters import SegmentConsent
from recsys.events.schema import Tolerance
from recsys.recommend.explanation.language_files import Language
from recsys.recommend.explanation.reasons import ReasonStyle, sensitive_paths
from serving.request_log import Form

CONFIG_PATH_VARIABLE: Final = "RECSYS_SERVING_CONFIG"
"""Environment variable with the path of the YAML file, for the worker processes."""
OVERRIDES_VARIABLE: Final = "RECSYS_SERVING_OVERRIDES"
"""Environment variable with a JSON object of keys that replace those of the file."""
API_KEY_VARIABLE: Final = "RECSYS_API_KEY"
"""Environment variable with the API key; never a key of the file."""


class ReasonsConfig(BaseModel):
    """How the shop speaks of why an item is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language = "en"
    """Where a request does not say."""
    tone: Tone = "open"
    """`open` names the evidence ("because you bought …"), `subtle` does not ("matches your taste").
    A placement may have a tone of its own."""
    sensitive_categories: tuple[str, ...] = ()
    """Category paths such as `Health > Intimate`: neither they nor anything in them is named."""
    min_customers: int = Field(default=5, ge=2)
    """The least number of distinct customers that a reason counts."""

    @property
    def voice(self) -> ReasonStyle:
        """The same, as reasons are told."""
        return ReasonStyle(
            language=self.language,
            tone=self.tone,
            sensitive=sensitive_paths(self.sensitive_categories),
            min_customers=self.min_customers,
        )


class SegmentConsentConfig(BaseModel):
    """Which categories of a shop's consent banner decide for Segment's messages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    personalization: tuple[str, ...] = tuple(SegmentConsent().personalization)
    """The first of these that a message has; one that has none says nothing."""
    analytics: tuple[str, ...] = tuple(SegmentConsent().analytics)
    """Any of these."""

    @property
    def rule(self) -> SegmentConsent:
        """The same, as messages are read."""
        return SegmentConsent(self.personalization, self.analytics)


class ServingConfig(BaseModel):
    """Everything that can be set about the service; the file names only what differs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: Path = Path(".recsys")
    """The directory that training writes and the service reads."""
    store: Path | None = None
    """The event store's SQLite file; `<workspace>/store.sqlite` where not given."""
    published: Path | None = None
    """The directory of bundles and their pointer; `<workspace>/published` where not given."""
    placements: Path | None = None
    """A file such as `configs/placements.yaml`, over the placements of the bundle."""
    segments: Path | None = None
    """A file such as `configs/segments.yaml`, in place of the segments of the bundle."""
    families: dict[str, str] = {}
    """The shop's own model families that a bundle may have: model → dotted path
    (`package.module:NAME`), as the recipe names them. Nothing else is imported for a bundle."""

    host: str = "127.0.0.1"
    """The address to listen on. Any other than loopback needs an API key."""
    port: int = Field(default=3000, ge=1, le=65_535)
    """TCP port."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes; each holds its own connections, bundles are memory-mapped and shared."""
    api_key: SecretStr | None = Field(default=None, exclude=True)
    """From the environment alone (`RECSYS_API_KEY`); a file that names it is refused."""
    graceful_seconds: int = Field(default=10, ge=1, le=300)
    """How long a stopping worker may finish what it has begun."""

    body_limit: int = Field(default=262_144, ge=1024, le=64 * 1024 * 1024)
    """Bytes of a request body; more is answered with 413."""
    body_seconds: float = Field(default=2.0, gt=0, le=60)
    """How long a request body may take to arrive; longer is answered with 408."""
    request_seconds: float = Field(default=5.0, gt=0, le=60)
    """How long an answer may take once the body is there; longer is answered with 503."""

    history_limit: int = Field(default=500, ge=1, le=10_000)
    """How many of a person's newest events an answer looks at."""
    session_minutes: float = Field(default=30.0, gt=0)
    """Without a session_id, the current visit is what happened in these last minutes."""
    tolerance_past_days: float = Field(default=30.0, gt=0)
    """How old an event may be when it arrives."""
    tolerance_future_minutes: float = Field(default=10.0, ge=0)
    """How far an event's clock may be ahead of the service's."""

    bundle_poll_seconds: float = Field(default=1.0, gt=0, le=60)
    """How often the pointer is looked at for a newly published bundle."""
    catalog_poll_seconds: float = Field(default=0.4, gt=0, le=60)
    """How often catalogue changes are read; they are in force after this."""
    refused_retry_seconds: float = Field(default=30.0, gt=0)
    """After how long a refused bundle is tried again."""
    commit_linger_ms: float = Field(default=2.0, ge=0, le=1000)
    """How long events wait for others to be committed with."""
    store_write_seconds: float = Field(default=2.0, gt=0, le=60)
    """How long a writing call waits for another writer of the store; then 503."""
    store_read_ms: float = Field(default=25.0, gt=0, le=10_000)
    """How long an answer waits for a locked store; then it is given without it, `degraded`."""
    store_rest_ms: float = Field(default=500.0, ge=0, le=60_000)
    """How long answers do without the store after one of them could not read it."""
    queue_ms: float = Field(default=100.0, gt=0, le=60_000)
    """How long a request may have to wait for its turn; where it would be longer, 503 at once."""
    log: Form = "json"
    """One line per request and message, as `json` or `text`."""
    drain_seconds: float = Field(default=1.0, ge=0, le=60)
    """How long a worker that is told to stop still answers, saying that it is not ready and that
    connections end, before it takes no more."""
    erase_reserve_mb: int = Field(default=8, ge=0, le=1024)
    """Room kept beside the store, so that a person can be erased on a full disk."""
    answer_log_queue: int = Field(default=10_000, ge=1)
    """Answers waiting to be logged; more are dropped and counted."""
    reasons: ReasonsConfig = ReasonsConfig()
    """How answers say why an item is shown."""

    segment_consent: SegmentConsentConfig = SegmentConsentConfig()
    """How `POST /v1/events/segment` reads consent."""

    @property
    def store_path(self) -> Path:
        """The event store's SQLite file."""
        return self.store or self.workspace / "store.sqlite"

    @property
    def published_root(self) -> Path:
        """The directory of bundles and their pointer."""
        return self.published or self.workspace / "published"

    @property
    def tolerance(self) -> Tolerance:
        """How far an event's timestamp may be from the moment it is received."""
        return Tolerance(
            past=timedelta(days=self.tolerance_past_days),
            future=timedelta(minutes=self.tolerance_future_minutes),
        )

    def check_exposure(self) -> None:
        """InvalidConfig where the service would listen beyond this machine without a key."""
        if self.api_key is None and not is_loopback(self.host):
            raise InvalidConfig(
                "host",
                self.host,
                "without an API key the service listens on loopback only; set the environment "
                f"variable {API_KEY_VARIABLE} or host: 127.0.0.1",
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_config(
    path: Path | None,
    *,
    overrides: Mapping[str, Any] | None = None,
    api_key: str | None = None,
) -> ServingConfig:
    """The configuration in a YAML file (None: the defaults), `overrides` over it.

    InvalidConfig names the key, its value and the remedy.
    """
    fields: dict[str, Any] = {} if path is None else _read(path)
    if "api_key" in fields:
        raise InvalidConfig("api_key", "***", f"put it into {API_KEY_VARIABLE}, not into a file")
    fields.update(overrides or {})
    if api_key:
        fields["api_key"] = api_key
    try:
        return ServingConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        shown = "***" if field == "api_key" else first["input"]
        if first["type"] == "extra_forbidden":
            raise InvalidConfig(field, shown, "there is no such key; leave it out") from error
        raise InvalidConfig(field, shown, first["msg"]) from error


def config_from_environment(environment: Mapping[str, str]) -> ServingConfig:
    """The configuration as `python -m serving` hands it to its worker processes."""
    path = environment.get(CONFIG_PATH_VARIABLE)
    return load_config(
        Path(path) if path else None,
        overrides=json.loads(environment.get(OVERRIDES_VARIABLE, "{}")),
        api_key=environment.get(API_KEY_VARIABLE),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig("config", str(path), f"it cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InvalidConfig("config", str(path), f"it is not valid YAML: {error}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise InvalidConfig("config", str(path), "write keys and values, such as `port: 3000`")
    return fields
