"""Stopping on SIGTERM at the end of a step, with a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingStoppedError(ValueError):
    """A training was asked to stop and did; its checkpoint is kept."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether SIGTERM has come since; elsewhere than in the main thread it never has."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
