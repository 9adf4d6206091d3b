"""How long a piece of work takes on a device, with the device synchronised on both sides."""

import time
from collections.abc import Callable
from typing import Protocol

import torch


class Timer(Protocol):
    """Times one piece of work."""

    def __call__(self, work: Callable[[], object]) -> float:
        """Does the work and returns its duration in seconds."""


class WallClock:
    """A monotonic clock; for a CPU, and for accelerators without CUDA's events.

    Attributes:
        synchronize: Waits for the device to finish what it was given.
    """

    def __init__(self, synchronize: Callable[[], object] = lambda: None) -> None:
        self.synchronize = synchronize

    def __call__(self, work: Callable[[], object]) -> float:
        """Does the work and returns its duration in seconds."""
        self.synchronize()
        start_s = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - start_s


class CudaEvents:
    """Time stamps that the GPU takes itself, so that the host's part after the last kernel does not count."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, work: Callable[[], object]) -> float:
        """Does the work and returns its duration in seconds."""
        stream = torch.cuda.current_stream(self.device)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(self.device)
        start.record(stream)
        work()
        end.record(stream)
        torch.cuda.synchronize(self.device)
        return float(start.elapsed_time(end)) / 1000  # CUDA counts in milliseconds


def timer_for(device: torch.device) -> Timer:
    """The most exact timer for work on that device."""
    if device.type == "cuda":
        return CudaEvents(device)
    if device.type == "cpu":
        return WallClock()
    return WallClock(torch.accelerator.synchronize)
