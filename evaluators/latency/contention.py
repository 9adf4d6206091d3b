"""Whether others used the processor while something was timed.

Counted over the CPUs this process may run on: what all processes together used (the kernel's counters, with the time
that a hypervisor stole) minus what this process used is what others used. It disturbs a measurement once it exceeds
what this process leaves free: with two compute threads on two CPUs nothing is free, with one a whole CPU is.
"""

import os
import sys
import time
from typing import Self

import psutil

TOLERATED_CPUS = 0.1
"""What others may use beyond the free CPUs: the background noise of a quiet machine stays below it. Threads wait for
the slowest of them, so little more than this already shows."""


class CpuLoad:
    """A context manager that watches the processor from entry to exit.

    Attributes:
        num_threads: Compute threads of this process.
        others: After exit, CPUs that others kept busy on average (1.5 = one and a half).
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self.others = 0.0

    def __enter__(self) -> Self:
        self._start = _counters_s()
        return self

    def __exit__(self, *exception: object) -> None:
        wall_s, all_s, own_s = (now - then for now, then in zip(_counters_s(), self._start, strict=True))
        self.others = max(0.0, (all_s - own_s) / wall_s)

    @property
    def contended(self) -> bool:
        """Whether others used more than what this process leaves free."""
        free = max(0, len(_allowed_cpus()) - self.num_threads)
        return self.others > free + TOLERATED_CPUS


def _counters_s() -> tuple[float, float, float]:
    """Seconds of wall time, of all processes on the allowed CPUs, and of this process."""
    per_cpu = psutil.cpu_times(percpu=True)
    busy_s = sum(sum(times) - _not_busy_s(times) for times in (per_cpu[cpu] for cpu in _allowed_cpus()))
    return time.perf_counter(), busy_s, time.process_time()


def _not_busy_s(times: object) -> float:
    """Idle time, and guest time, which Linux counts within user time as well. Not every system knows every kind."""
    return sum(float(getattr(times, kind, 0.0)) for kind in ("idle", "iowait", "guest", "guest_nice"))


def _allowed_cpus() -> list[int]:
    known = len(psutil.cpu_times(percpu=True))
    if sys.platform == "linux":
        return sorted(cpu for cpu in os.sched_getaffinity(0) if cpu < known)
    return list(range(known))
