import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.long_work.stopping import TrainingStoppedError, end_step, never, stop_requests


def test_sigterm_is_told_and_what_was_there_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as must_stop:
        assert not must_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert must_stop()
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_told() -> None:
    found: list[bool] = []

    def run() -> None:
        with stop_requests() as must_stop:
            found.append(must_stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def step(number: int, save: Callable[[], None] | None, *, is_asked: bool = False) -> None:
    end_step(number, 6, every=2, must_stop=lambda: is_asked, save=save, kept_in=Path("runs/x"))


def test_steps_are_saved_when_due_and_the_last_in_any_case() -> None:
    saved: list[int] = []
    for number in range(1, 6):
        end_step(number, 5, every=2, must_stop=never, save=lambda: saved.append(number), kept_in=Path())  # noqa: B023
    assert saved == [2, 4, 5]


def test_a_request_is_met_with_a_checkpoint_unless_all_is_done() -> None:
    saved: list[int] = []
    with pytest.raises(
        TrainingStoppedError, match=r"at step 3 of 6, with a checkpoint in runs/x; go on with --resume\."
    ):
        step(3, lambda: saved.append(3), is_asked=True)
    step(6, lambda: saved.append(6), is_asked=True)
    assert saved == [3, 6]
    with pytest.raises(TrainingStoppedError, match=r"at step 3 of 6, and keeps no checkpoint; begin anew\."):
        step(3, None, is_asked=True)
