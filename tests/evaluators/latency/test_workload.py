from typing import Any

import pytest
import torch
from torch import nn

from evaluators.base import EvaluationError
from evaluators.latency.workload import Workload
from tests.evaluators import tiny


class Recorder(nn.Module):
    """Passes calls on and notes each call's tokens, and the length of its cache before and after."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.calls: list[dict[str, Any]] = []
        self.outputs: list[Any] = []

    def can_generate(self) -> bool:
        return self.model.can_generate()

    def forward(self, logits_to_keep: int = 0, past_key_values: Any = None, **inputs: Any) -> Any:
        before = 0 if past_key_values is None else past_key_values.get_seq_length()
        output = self.model(logits_to_keep=logits_to_keep, past_key_values=past_key_values, **inputs)
        self.outputs.append(output)
        self.calls.append(
            {
                "shape": tuple(inputs["input_ids"].shape),
                "logits": output.logits.shape[1],
                "cache": (before, output.past_key_values.get_seq_length()),
            }
        )
        return output


def run(workload: Workload, model: nn.Module, times: int) -> None:
    with torch.inference_mode():
        repeat = workload.prepare(model)
        for _ in range(times):
            repeat.run(repeat.fresh())


def test_prefill_fills_a_cache_and_computes_the_last_logits_only() -> None:
    model = Recorder(tiny.llama())
    run(Workload(name="prefill", batch_size=3, context_tokens=20), model, 2)
    assert model.calls == [{"shape": (3, 20), "logits": 1, "cache": (0, 20)}] * 2


@pytest.mark.parametrize("model", [tiny.llama(), tiny.sliding_window_mistral()])
def test_decode_steps_from_the_same_context_every_time(model: nn.Module) -> None:
    recorder = Recorder(model)
    run(Workload(name="decode", batch_size=2, context_tokens=20, decode_tokens=3), recorder, 2)
    steps = [{"shape": (2, 1), "logits": 1, "cache": (length, length + 1)} for length in (20, 21, 22)]
    assert recorder.calls[1:] == steps * 2
    for first, second in zip(recorder.outputs[1:4], recorder.outputs[4:], strict=True):
        assert first.logits.equal(second.logits)


def test_decode_generates_what_generate_does() -> None:
    model = tiny.llama()
    workload = Workload(name="decode", context_tokens=20, decode_tokens=5)
    with torch.inference_mode():
        repeat = workload.prepare(model)
        last_token = repeat.run(repeat.fresh())
        context = torch.randint(32, 64, (1, 20), generator=torch.Generator().manual_seed(0))
        expected = model.generate(context, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert torch.equal(torch.as_tensor(last_token), expected[:, -1:])


def test_encode_is_one_forward_pass() -> None:
    with torch.inference_mode():
        repeat = Workload(name="encode", batch_size=2, context_tokens=16).prepare(tiny.bert())
        output: Any = repeat.run(repeat.fresh())
    assert output.logits.shape == (2, 2)
    assert repeat.num_steps == 1


def test_an_encoder_cannot_decode() -> None:
    with pytest.raises(
        EvaluationError, match="decode workload needs a model that generates text with a KV cache, got B"
    ):
        Workload(name="decode").prepare(tiny.bert())


def test_the_steps_must_fit_the_context_too() -> None:
    with pytest.raises(EvaluationError, match="max_position_embeddings=128 tokens, got 130"):
        Workload(name="decode", context_tokens=126, decode_tokens=4).prepare(tiny.llama())


@pytest.mark.parametrize("field", ["batch_size", "context_tokens", "decode_tokens"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(EvaluationError, match=f"{field} must be at least 1, got 0"):
        Workload(name="encode", **{field: 0})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(EvaluationError, match="workload must be one of prefill, decode, encode, got 'generate'"):
        Workload(name="generate")  # type: ignore[arg-type]
