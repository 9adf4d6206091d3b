"""SIGTERM while trainings run and while none does."""

import os
import signal

import pytest
from rich.console import Console

from nas.commands.stopping import stoppable
from nas.supernet.training import TrainingStep

STEP = TrainingStep(number=1, num_steps=9, loss=0.5)


def test_a_training_is_asked_to_end_after_the_step_that_it_is_at() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable(Console(quiet=True)) as progress:
        on_step = progress.begins("Recovering trial 3")
        on_step(STEP)
        assert not progress.must_stop()
        os.kill(os.getpid(), signal.SIGTERM)  # returns: the step goes on
        on_step(STEP)
        assert progress.must_stop()
    assert signal.getsignal(signal.SIGTERM) is before


def test_after_a_training_that_broke_off_it_ends_at_once() -> None:
    with stoppable(Console(quiet=True)) as progress:
        progress.begins("Training grain to 0.10x")
        progress.breaks_off()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_after_the_last_step_ends_it_with_the_training() -> None:
    with stoppable(Console(quiet=True)) as progress:
        progress.begins("Recovering trial 3")(STEP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            progress.ends("Recovering trial 3")


def test_without_a_training_it_ends_at_once() -> None:
    with stoppable(Console(quiet=True)), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
