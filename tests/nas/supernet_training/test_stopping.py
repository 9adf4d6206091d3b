import os
import signal
import threading

from nas.supernet_training.stopping import stop_requests


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
