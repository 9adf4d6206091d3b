import pytest
import torch
from torch import nn

from nas.accelerating import AcceleratorError, accelerator_for, parameter_groups
from tests.nas.supernet_training.accelerating import fresh_accelerator  # noqa: F401

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_the_cpu_is_taken_where_it_is_asked_for() -> None:
    accelerator = accelerator_for("cpu", "bf16")
    assert accelerator.device == torch.device("cpu")
    assert accelerator.mixed_precision == "bf16"


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(
        AcceleratorError, match="mixed_precision fp16 needs a CUDA GPU, got the device cpu; set bf16 or"
    ):
        accelerator_for("cpu", "fp16")


def test_a_second_precision_in_a_process_is_refused() -> None:
    accelerator_for("cpu", "no")
    with pytest.raises(AcceleratorError, match=r"train in one precision .*, got mixed_precision bf16 on cpu after oth"):
        accelerator_for("cpu", "bf16")


def test_matrices_decay_and_biases_do_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decaying, steady = parameter_groups(module.parameters(), 0.1)
    assert [one.shape for one in decaying["params"]] == [(3, 2)]
    assert [one.shape for one in steady["params"]] == [(3,), (3,), (3,)]
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.1, 0.0)
