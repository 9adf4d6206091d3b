"""What processes of the service ask of the system: to end with who started them, and how to keep their memory."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8


def end_with(parent: int, number: signal.Signals) -> None:
    """Has the system send this process a signal when its parent ends, however that happens (Linux only).

    Args:
        parent: The process that started this one; where that has ended already, so does this one.
        number: The signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit(1)


def use_one_heap() -> None:
    """Has all threads take their memory from one heap (glibc only; elsewhere nothing happens).

    glibc gives each thread a heap of its own, up to eight a processor, and what was freed in one is of no use to the
    others: a server whose threads answer in turn grows for as long as it takes until each has met its largest answer.
    Separate heaps are for threads that allocate at the same time, which Python's do not.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
