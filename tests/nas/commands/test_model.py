"""`nas measure` on its own and against another model."""

import pytest

from evaluators.base import Measurement
from nas.commands.model import evaluate_model, latency_parts
from nas.supernet.loading import ModelLoadingError


def measured(*, against: str | None) -> dict[str, Measurement]:
    parts = latency_parts("decode", batch_size=1, context_tokens=16, max_s=0.3)
    return evaluate_model("bundled", parts, dtype="auto", device="cpu", trust_remote_code=False, against=against)


def test_a_model_alone_has_no_ratio() -> None:
    assert set(measured(against=None)) == {"decode_latency", "peak_memory", "flops", "parameters"}


def test_a_model_takes_as_long_as_itself() -> None:
    found = measured(against="bundled")
    ratio, other = found["decode_latency_ratio"], found["decode_latency_supernet"]
    assert ratio.unit == "ratio"
    assert 0.2 < ratio.value < 5  # two copies of one model, on a machine that may be busy
    assert other.unit == found["decode_latency"].unit == "s"
    assert other.value > 0


def test_the_other_model_must_exist() -> None:
    with pytest.raises(ModelLoadingError, match="nowhere"):
        measured(against="/nowhere")
