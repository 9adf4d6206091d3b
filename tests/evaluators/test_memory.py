import pytest
import torch

from evaluators.base import EvaluationError, Subject
from evaluators.memory import LiveTensors, Memory, peak_bytes_beside_weights
from tests.evaluators import tiny

CPU = torch.device("cpu")


def test_the_peak_is_of_what_lives_at_once() -> None:
    def work() -> torch.Tensor:
        first = torch.zeros(1000)  # 4,000 bytes
        second = first + 1  # 8,000 with the first
        del first
        third = second[:10] * 2  # 4,000 + 40: the view costs nothing
        return second.sum() + third.sum()

    assert peak_bytes_beside_weights(work, CPU) == 8000


def test_memory_that_was_there_before_does_not_count() -> None:
    weight = torch.zeros(1000)
    assert peak_bytes_beside_weights(lambda: weight[:500].view(10, 50).t(), CPU) == 0
    assert peak_bytes_beside_weights(lambda: weight.add_(1), CPU) == 0


def test_freed_tensors_are_forgotten() -> None:
    with LiveTensors() as tensors:
        kept = torch.zeros(10)
        for _ in range(5):
            torch.zeros(100)
    assert (tensors.live_bytes, tensors.peak_bytes) == (40, 440)
    del kept
    assert tensors.live_bytes == 0


def test_a_longer_context_costs_at_least_its_kv_cache() -> None:
    subject = Subject(model=tiny.llama())
    short, long = (
        Memory(workload="prefill", context_tokens=tokens).evaluate(subject)["peak_memory"].value for tokens in (8, 72)
    )
    kv_cache = 2 * 2 * 64 * 2 * 8 * 4  # keys and values, layers, tokens, KV groups, head width, bytes
    assert long - short >= kv_cache
    weights = sum(parameter.numel() for parameter in subject.model.parameters()) * 4
    assert short > weights


def test_half_the_precision_takes_half_the_memory() -> None:
    single, half = (
        Memory(workload="encode", context_tokens=32).evaluate(Subject(model=tiny.bert().to(dtype)))["peak_memory"]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert half.value == pytest.approx(single.value / 2, rel=0.1)
    assert (half.unit, half.ci95) == ("bytes", None)


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(EvaluationError, match="workload must be one of prefill, decode, encode, got 'train'"):
        Memory(workload="train")  # type: ignore[arg-type]
