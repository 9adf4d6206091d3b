import time

import pytest
import torch

from evaluators.latency.timer import CudaEvents, WallClock, timer_for


def test_the_wall_clock_does_the_work_between_two_synchronisations(monkeypatch: pytest.MonkeyPatch) -> None:
    diary: list[str] = []
    clock = iter([1.0, 3.5])

    def read_clock() -> float:
        diary.append("clock")
        return next(clock)

    monkeypatch.setattr(time, "perf_counter", read_clock)
    duration_s = WallClock(lambda: diary.append("synchronise"))(lambda: diary.append("work"))
    assert duration_s == 2.5
    assert diary == ["synchronise", "clock", "work", "synchronise", "clock"]


def test_every_device_has_its_timer() -> None:
    assert isinstance(timer_for(torch.device("cpu")), WallClock)
    assert isinstance(timer_for(torch.device("cuda")), CudaEvents)
    other = timer_for(torch.device("mps"))
    assert isinstance(other, WallClock)
    assert other.synchronize is torch.accelerator.synchronize


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_events_wait_for_the_gpu() -> None:
    matrix = torch.ones(4096, 4096, device="cuda")
    timer = CudaEvents(matrix.device)

    def products(number: int) -> None:
        for _ in range(number):
            matrix @ matrix

    timer(lambda: products(3))
    assert timer(lambda: products(40)) > 5 * timer(lambda: products(2))
