"""Logs impressions off the request path: a bounded queue and a thread that empties it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from recsys.errors import StoreUnavailable
from recsys.store.protocol import AnswerStore, LoggedAnswer
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
"""How long answers are collected before they are written in one batch."""
ATTEMPTS = 3
"""How often writing a batch to an unavailable store is tried before it is dropped."""


class ImpressionLog:
    """Queues answers without waiting; a full queue drops and counts them."""

    def __init__(self, store: AnswerStore, *, metrics: Metrics, capacity: int) -> None:
        self._store = store
        self._metrics = metrics
        self._capacity = capacity
        self._queue: deque[LoggedAnswer] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="answer-log", daemon=True)
        self._thread.start()

    def add(self, answers: Sequence[LoggedAnswer]) -> None:
        """Queues the answers."""
        free = self._capacity - len(self._queue)
        if free < len(answers):
            self._metrics.answers_not_logged.inc(len(answers) - max(free, 0))
            answers = answers[: max(free, 0)]
        self._queue.extend(answers)

    def has_room(self, answers: int) -> bool:
        """Whether so many answers can be queued now: exploration must be on record."""
        return self._capacity - len(self._queue) >= answers

    def close(self) -> None:
        """Writes what is queued and stops."""
        self._stopping.set()
        self._thread.join()

    def _write_all(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(PAUSE_SECONDS)
            batch = [self._queue.popleft() for _ in range(len(self._queue))]
            if batch:
                self._write(batch)

    def _write(self, batch: Sequence[LoggedAnswer]) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._store.log_answers(batch)
            except StoreUnavailable as error:
                self._metrics.store_failures.labels("log_answers").inc()
                logger.warning("Answer log: %s (attempt %d of %d)", error, attempt + 1, ATTEMPTS)
                self._stopping.wait(PAUSE_SECONDS)
            else:
                return
        self._metrics.answers_not_logged.inc(len(batch))
