"""The end of a step: a checkpoint when one is due, and the end of the training where that was asked for (SIGTERM)."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

GO_ON = "go on with --resume"


class TrainingStoppedError(ValueError):
    """A training was asked to stop and did; its checkpoint is kept, if there is a place for one."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


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


def end_step(
    number: int,
    num_steps: int,
    *,
    every: int,
    must_stop: Callable[[], bool],
    save: Callable[[], None] | None,
    kept_in: Path,
    how_to_go_on: str = GO_ON,
) -> None:
    """Saves where that is due, and ends the training where it was asked to. The last step is always saved.

    Args:
        number: Steps done.
        num_steps: Steps in all.
        every: Steps between two checkpoints.
        must_stop: Asked once.
        save: Writes the checkpoint; None where there is no place for one.
        kept_in: The folder that it lies in.
        how_to_go_on: For people.

    Raises:
        TrainingStoppedError: ``must_stop`` said so, before the last step.
    """
    is_last, is_stopping = number == num_steps, must_stop()
    if save is not None and (number % every == 0 or is_stopping or is_last):
        save()
    if is_stopping and not is_last:
        kept = f"with a checkpoint in {kept_in}; {how_to_go_on}." if save else "and keeps no checkpoint; begin anew."
        raise TrainingStoppedError(f"Training was asked to stop and did at step {number} of {num_steps}, {kept}")
