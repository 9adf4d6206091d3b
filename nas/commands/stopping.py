"""SIGTERM: an end after the step that a training is at, and at once where there is none."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from nas.supernet.training import OnStep
from nas.training_progress import TrainingsProgress


class StoppableProgress:
    """Progress of trainings that a signal ends after a step.

    Args:
        console: Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._progress = TrainingsProgress(console, check=self._check)
        self._is_training = False
        self._is_stopping = False

    def begins(self, what: str) -> OnStep:
        """See ``Watcher``."""
        self._is_training = True
        return self._progress.begins(what)

    def ends(self, what: str, *, problem: str = "") -> None:
        """See ``Watcher``."""
        self._is_training = False
        self._progress.ends(what, problem=problem)
        self._check()

    def stop(self) -> None:
        """Ends the training after its step, or the process's work now.

        Raises:
            KeyboardInterrupt: There is no training.
        """
        self._is_stopping = True
        if not self._is_training:
            self._check()

    def _check(self) -> None:
        if self._is_stopping:
            raise KeyboardInterrupt


@contextmanager
def stoppable(console: Console) -> Iterator[StoppableProgress]:
    """Lets SIGTERM end trainings in good order, as far as this thread may say what signals do."""
    progress = StoppableProgress(console)
    if threading.current_thread() is not threading.main_thread():
        yield progress
        return

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        progress.stop()

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield progress
    finally:
        signal.signal(signal.SIGTERM, before)
