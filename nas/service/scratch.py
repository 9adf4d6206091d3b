"""Folders for what jobs put on the disk while they run: exports in the making, checkpoints, a trained supernet.

The process of a job is killed where it is cancelled or its worker stops, and then clears nothing up. So its worker
makes the folder, lets the process take it for the system's temporary one, and removes it when the process has ended.
Where the worker is killed too, the folder stays until a worker starts on this machine: the lock on a file in it, which
the system lets go of with the process, tells that nobody uses it any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "nas-worker-"
_LOCK = ".lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder below the system's temporary one (``TMPDIR``), gone after the block with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / f"{_LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # locked before others can see it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def within(folder: Path) -> Mapping[str, str]:
    """The environment of a process that makes its temporary files in a folder."""
    return {**os.environ, "TMPDIR": str(folder)}


def remove_left_folders() -> None:
    """Removes what killed workers have left on this machine; folders of other users and of living workers stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
