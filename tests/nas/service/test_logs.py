"""What a process prints becomes events of its search."""

import io
import os

import pytest

from nas.service.database import Database
from nas.service.events import Events
from nas.service.logs import LOG_EVENT, MAX_LINES, Capture, Logs, shown
from nas.service.queue import JobState, LeaseLostError, Queue
from tests.nas.service.searching import claimed, submitted


def captured(printed: bytes) -> Capture:
    capture = Capture(io.BytesIO(printed))
    capture.wait(5.0)
    return capture


def test_lines_are_stored_once_and_in_order(database: Database) -> None:
    search_id, queue = submitted(database), Queue(database)
    lease = claimed(database)
    capture = captured(b"".join(b"line %d\n" % number for number in range(250)))
    logs = Logs(database, queue)
    logs.store(lease, capture)
    logs.store(lease, capture)
    found = Events(database).after(search_id, 0, kind=LOG_EVENT)
    assert [event.data for event in found] == [{"job": "search", "text": f"line {number}"} for number in range(250)]
    assert [event.number for event in found] == list(range(3, 253))  # after queued and running


def test_whoever_lost_the_job_adds_nothing_to_its_log(database: Database) -> None:
    search_id, queue = submitted(database), Queue(database)
    lease, capture = claimed(database), captured(b"late\n")
    with queue.guarded(lease) as connection:
        queue.end(connection, lease, JobState.CANCELLED)
    with pytest.raises(LeaseLostError, match="not this worker's any more"):
        Logs(database, queue).store(lease, capture)
    assert list(capture.waiting) == ["late"]
    assert Events(database).after(search_id, 0, kind=LOG_EVENT) == []


def test_a_process_that_prints_without_end_fills_nothing() -> None:
    capture = captured(b"x\n" * (MAX_LINES + 500))
    assert len(capture.waiting) == MAX_LINES
    assert capture.waiting[-1] == "More lines are in the worker's own log only."


def test_lines_can_be_read_while_the_process_still_prints() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as printed, os.fdopen(writing, "wb", buffering=0) as process:
        capture = Capture(printed)
        process.write(b"first\n")
        while not capture.waiting:
            capture.wait(0.01)
        assert list(capture.waiting) == ["first"]
        process.close()
        capture.wait(5.0)


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        (b"plain\n", "plain"),
        (b" 10%|#   \r 50%|##  \r100%|####\n", "100%|####"),
        (b"\x1b[31mred\x1b[0m\x00\n", "[31mred [0m"),
        ("ümlaut → ✓\n".encode(), "ümlaut → ✓"),
        (b"broken \xff\n", "broken �"),
        (b"\n", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_leaves_it(printed: bytes, line: str) -> None:
    assert shown(printed) == line
