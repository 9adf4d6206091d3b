import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from evaluators.base import EvaluationError, Measurement, Subject
from evaluators.latency import Latency, evaluator
from tests.evaluators import tiny


class Machine:
    """A clock that says what the test wants, and a supernet to enter."""

    def __init__(self) -> None:
        self.supernet = tiny.llama()
        self.active = "candidate"
        self.seconds = {"candidate": itertools.repeat(0.004), "supernet": itertools.repeat(0.008)}

    def timer(self, work: Callable[[], object]) -> float:
        assert torch.is_inference_mode_enabled()
        work()
        return next(self.seconds[self.active])

    @contextmanager
    def reference(self) -> Iterator[nn.Module]:
        assert not torch.is_inference_mode_enabled()
        self.active = "supernet"
        yield self.supernet
        self.active = "candidate"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(evaluator, "timer_for", lambda device: machine.timer)
    monkeypatch.setattr(evaluator.CpuLoad, "contended", False)
    return machine


def test_a_model_alone_reports_its_own_median(machine: Machine) -> None:
    machine.seconds["candidate"] = itertools.cycle([0.25, 0.5, 0.375])
    measured = Latency(workload="prefill", target_interval=0.5).evaluate(Subject(model=tiny.llama()))
    assert list(measured) == ["prefill_latency"]
    assert measured["prefill_latency"] == Measurement(value=0.375, unit="s", ci95=(0.25, 0.5), p90=0.5, n=6)


def test_decode_is_per_token(machine: Machine) -> None:
    measured = Latency(workload="decode", context_tokens=8, decode_tokens=2).evaluate(Subject(model=tiny.llama()))
    assert measured["decode_latency"].value == pytest.approx(0.002)


def test_with_a_supernet_the_ratio_is_reported_too(machine: Machine) -> None:
    measurements = Latency(workload="prefill").evaluate(Subject(model=tiny.llama(), reference=machine.reference))
    assert measurements["prefill_latency"].value == pytest.approx(0.004)
    ratio = measurements["prefill_latency_ratio"]
    assert (ratio.value, ratio.unit, ratio.ci95) == (0.5, "ratio", (0.5, 0.5))


def test_a_recorded_supernet_turns_the_ratio_into_seconds(machine: Machine) -> None:
    """The machine is now twice as slow as when the supernet was recorded; the value is as it would have been then."""
    recorded = {"prefill_latency": Measurement(value=0.004, unit="s")}
    subject = Subject(model=tiny.llama(), reference=machine.reference, reference_measurements=recorded)
    measured = Latency(workload="prefill").evaluate(subject)["prefill_latency"]
    assert measured.value == pytest.approx(0.002)
    assert measured.ci95 == pytest.approx((0.002, 0.002))
    assert measured.p90 == pytest.approx(0.002)


def test_an_interval_that_stays_wide_is_flagged(machine: Machine) -> None:
    machine.seconds["candidate"] = itertools.cycle([0.004] * 11 + [0.005] * 11)
    measured = Latency(workload="prefill", max_s=0.5).evaluate(Subject(model=tiny.llama()))
    assert measured["prefill_latency"].flags == ("wide_interval",)


def test_a_busy_processor_is_flagged(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator.CpuLoad, "contended", True)
    measurements = Latency(workload="prefill").evaluate(Subject(model=tiny.llama(), reference=machine.reference))
    assert {measurement.flags for measurement in measurements.values()} == {("contended",)}


def test_repeats_spread_like_contention_are_flagged(machine: Machine) -> None:
    machine.seconds["candidate"] = itertools.cycle([0.004] * 4 + [0.009])
    measured = Latency(workload="prefill").evaluate(Subject(model=tiny.llama()))
    assert measured["prefill_latency"].flags == ("contended",)


def test_names_follow_the_workload() -> None:
    assert [Latency(workload=w).name for w in ("prefill", "decode", "encode")] == [
        "prefill_latency",
        "decode_latency",
        "encode_latency",
    ]


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(EvaluationError, match="batch_size must be at least 1, got 0"):
        Latency(workload="decode", batch_size=0)
    with pytest.raises(EvaluationError, match=r"target_interval must lie between 0 and 1, got 3; try 0.03"):
        Latency(workload="decode", target_interval=3)
    with pytest.raises(EvaluationError, match="max_s must be above 0 seconds, got 0; try 3"):
        Latency(workload="decode", max_s=0)
