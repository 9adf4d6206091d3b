import pytest
import torch
from accelerate import PartialState
from torch import nn

from nas.accelerating import AcceleratorError, accelerator_for, batch_of_step, parameter_groups
from tests.nas.supernet.tiny_models import batches_of, token_ids
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


def test_each_training_of_a_process_has_its_own_precision() -> None:
    for precision in ("no", "bf16", "bf16", "no"):
        accelerator = accelerator_for("cpu", precision)
        assert (accelerator.mixed_precision, accelerator.device.type) == (precision, "cpu")
        with accelerator.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype is (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_processes_launched_together_stay_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator_for("cpu", "no")
    PartialState().debug = True  # which one made anew would not have
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    assert accelerator_for("cpu", "bf16").state.debug
    monkeypatch.setattr("nas.accelerating.pick_device", lambda _: torch.device("meta"))
    with pytest.raises(AcceleratorError, match="together must train on one kind of device, got meta after cpu; start"):
        accelerator_for("meta", "bf16")


def test_a_precision_that_the_device_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise ValueError("bf16 requires a supported device.")

    monkeypatch.setattr("nas.accelerating.Accelerator", refuse)
    with pytest.raises(AcceleratorError, match=r"got bf16 on cpu \(bf16 requires a supported device\); set 'no'"):
        accelerator_for("cpu", "bf16")


def test_matrices_decay_and_biases_do_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decaying, steady = parameter_groups(module.parameters(), 0.1)
    assert [one.shape for one in decaying["params"]] == [(3, 2)]
    assert [one.shape for one in steady["params"]] == [(3,), (3,), (3,)]
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.1, 0.0)


def test_every_batch_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = batches_of(*(token_ids(batch_size=1, seed=seed) for seed in range(5)))
    orders = [[batches.index(batch_of_step(batches, 3, 5 * epoch + step)) for step in range(5)] for epoch in range(3)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert orders[0] != orders[1]
    assert [batches.index(batch_of_step(batches, 3, step)) for step in range(5)] == orders[0]
    assert [batches.index(batch_of_step(batches, 4, step)) for step in range(5)] != orders[0]
