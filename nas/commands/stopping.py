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
    """Progress of trainings that a signal ends after a step, with a checkpoint.

    Args:
        console: Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._progress = TrainingsProgress(console)
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
        if self._is_stopping:  # its result comes out of its last checkpoint again
            raise KeyboardInterrupt

    def breaks_off(self) -> None:
        """See ``Watcher``."""
        self._is_training = False
        self._progress.breaks_off()

    def must_stop(self) -> bool:
        """See ``Watcher``."""
        return self._is_stopping

    def stop(self) -> None:
        """Ends the training after its step, or the process's work now.

        Raises:
            KeyboardInterrupt: There is no training.
        """
        self._is_stopping = True
        if not self._is_training:
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
