"""`ShopFiles`: placements.yaml and segments.yaml as the running service follows them.

A changed file is in force without a restart; an invalid file is refused and the settings stay.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from recsys.bundle.bundle import Bundle
from recsys.bundle.shop_settings import PlacementsConfig, SegmentsConfig, ShopSettings
from recsys.errors import InvalidConfig
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=BaseModel)
Stamp = tuple[int, int, int] | None
ABSENT: Final[Stamp] = None


class ShopFiles:
    """The settings of two files; None for a file that the shop does not use.

    `read` reads changed files; `settings` are those in force.
    """

    def __init__(
        self,
        *,
        placements: Path | None = None,
        segments: Path | None = None,
        metrics: Metrics,
    ) -> None:
        self.settings = ShopSettings()
        self._placements = placements
        self._segments = segments
        self._metrics = metrics
        self._stamps: dict[Path, Stamp] = {}
        self._warned: set[tuple[str, str]] = set()

    def read(self) -> ShopSettings | None:
        """The new settings where a file has changed and is valid, else None."""
        settings = self.settings
        if self._placements is not None and self._has_changed(self._placements):
            placements = self._read_or_refuse(self._placements, PlacementsConfig)
            settings = replace(settings, placements=placements or settings.placements)
        if self._segments is not None and self._has_changed(self._segments):
            segments = self._read_or_refuse(self._segments, SegmentsConfig)
            settings = replace(settings, segments=segments or settings.segments)
        return None if settings == self.settings else settings

    def refuse(self, reason: str) -> None:
        """Counts and logs that the files cannot be served."""
        self._metrics.shop_files.labels("refused").inc()
        logger.error("What was in force stays: %s", reason)

    def put_in_force(self, settings: ShopSettings) -> None:
        """Puts settings in force."""
        self.settings = settings
        self._metrics.shop_files.labels("taken").inc()

    def over(self, bundle: Bundle, settings: ShopSettings | None = None) -> Bundle:
        """The bundle under the settings; what cannot be served is logged once for each version."""
        changed, left_out = (settings or self.settings).over(bundle)
        self._warn_once(bundle.model_version, left_out)
        return changed

    def _warn_once(self, version: str, lines: Sequence[str]) -> None:
        for line in lines:
            if (version, line) not in self._warned:
                self._warned.add((version, line))
                logger.warning("%s: %s", version, line)

    def _has_changed(self, path: Path) -> bool:
        stamp = _stamp(path)
        if path in self._stamps and stamp == self._stamps[path]:
            return False
        self._stamps[path] = stamp
        return True

    def _read_or_refuse(self, path: Path, kind: type[Config]) -> Config | None:
        try:
            return read_config(path, kind)
        except InvalidConfig as error:
            self.refuse(str(error))
            return None


def read_config(path: Path, kind: type[Config]) -> Config:
    """A YAML file as one class; InvalidConfig names key, value and remedy."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return kind.model_validate(content)
    except OSError as error:
        raise InvalidConfig(
            path.name, str(path), f"it cannot be read ({error.strerror})"
        ) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise InvalidConfig(path.name, str(path), f"it is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(
            f"{path.name}: {key or 'file'}", first["input"], first["msg"]
        ) from error


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return ABSENT
    return (status.st_mtime_ns, status.st_size, status.st_ino)
