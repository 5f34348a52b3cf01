"""The log: a line per request and message, as JSON or text, without any value of a person.

Request lines are written in batches by a thread, so that a slow reader of the log delays no answer.
Of an error the log has its type and the lines of code, not its message, which may quote a request.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Form = Literal["json", "text"]

FLUSH_SECONDS: Final = 0.1
CAPACITY: Final = 20_000
"""Maximum number of lines waiting to be written; more are dropped and counted."""
RANKS: Final = ((500, "ERROR"), (400, "WARNING"), (0, "INFO"))


class ListLine(msgspec.Struct, frozen=True, kw_only=True):
    """A list of an answer."""

    placement: str
    level: str | None


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answered request."""

    time: str
    level: str
    logger: str = "serving.requests"
    route: str
    method: str
    status: int
    ms: float
    lists: list[ListLine] | UnsetType = UNSET
    variant: str | UnsetType = UNSET
    model_version: str | UnsetType = UNSET
    degraded: bool | UnsetType = UNSET
    recommendation_id: str | UnsetType = UNSET
    items: int | UnsetType = UNSET


class LogFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a line for an answer with lists."""

    lists: list[ListLine]
    variant: str
    model_version: str
    degraded: bool
    recommendation_id: str
    items: int


class RequestLog:
    """Collects a line per request without waiting."""

    def __init__(
        self,
        *,
        form: Form,
        clock: Callable[[], datetime],
        dropped: Callable[[], object],
        stream: IO[str] | None = None,
    ) -> None:
        self._encode = _as_json if form == "json" else _as_text
        self._clock = clock
        self._dropped = dropped
        self._stream = sys.stdout if stream is None else stream
        self._waiting: deque[RequestLine] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def add(
        self, route: str, method: str, status: int, seconds: float, log_fields: LogFields | None
    ) -> None:
        """Adds the line of an answered request."""
        if len(self._waiting) >= CAPACITY:
            self._dropped()
            return
        self._waiting.append(
            RequestLine(
                time=self._clock().isoformat(timespec="milliseconds"),
                level=next(name for least, name in RANKS if status >= least),
                route=route,
                method=method,
                status=status,
                ms=round(seconds * 1000, 3),
                **({} if log_fields is None else msgspec.structs.asdict(log_fields)),
            )
        )

    def close(self) -> None:
        """Writes the waiting lines and stops."""
        self._stopping.set()
        self._thread.join()

    def _write_all(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(FLUSH_SECONDS)
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self._stream.write("".join(self._encode(line) for line in lines))
                self._stream.flush()


class Formatter(logging.Formatter):
    """Formats log records like the request lines."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """A line; of an exception its type and the lines of code that it passed."""
        fields: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = type(error).__qualname__
            fields["at"] = " < ".join(
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
                for frame in reversed(traceback.extract_tb(error.__traceback__))
            )
        if self._form == "json":
            return _encoder.encode(fields).decode()
        log_fields = " ".join(fields[name] for name in ("error", "at") if name in fields)
        head = f"{fields['time']} {fields['level']} {fields['logger']}"
        return f"{head}: {fields['message']} {log_fields}".rstrip()


def set_up_logging(form: Form) -> None:
    """Gives this process's messages one form: ours, BentoML's and uvicorn's."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter(form))
    ours = logging.getLogger("serving")
    ours.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("", "bentoml", "uvicorn", "uvicorn.error", "serving", "recsys"):
        named = logging.getLogger(name)
        named.handlers = [handler] if name in ("", "bentoml") else []
        named.propagate = True
    logging.getLogger("bentoml").propagate = False


def _as_json(line: RequestLine) -> str:
    return _encoder.encode(line).decode() + "\n"


def _as_text(line: RequestLine) -> str:
    lists = (
        ""
        if line.lists is UNSET
        else "".join(f" {entry.placement}={entry.level}" for entry in line.lists)
    )
    version = "" if line.variant is UNSET else f" {line.variant}/{line.model_version}"
    degraded = " degraded" if line.degraded is True else ""
    return (
        f"{line.time} {line.level} {line.method} {line.route} {line.status} {line.ms:.1f} ms"
        f"{lists}{version}{degraded}\n"
    )


_encoder: Final = msgspec.json.Encoder()
