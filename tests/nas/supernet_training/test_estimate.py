from typing import Any

import pytest
import torch

from evaluators.inputs import Batch
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import TrainSupernetConfig
from nas.supernet_training.estimate import NUM_LOGITS, Estimate, estimate
from nas.supernet_training.lora import Adapters
from nas.supernet_training.losses import predict
from nas.train_supernet import estimate_training
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model


def estimated(supernet: Supernet, **keys: Any) -> Estimate:
    config = TrainSupernetConfig.model_validate({"model": "unused", "batch_size": 4, "sequence_tokens": 32, **keys})
    return estimate(supernet.model, supernet.family, supernet.shape, config)


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("name", TINY_MODELS)
def test_the_parameters_are_those_that_are_trained(name: str, norms: bool) -> None:
    supernet = Supernet(tiny_model(name))
    num_parameters = supernet.model.num_parameters()
    full, low = estimated(supernet), estimated(supernet, lora={"rank": 3, "norms": norms})
    Adapters.attach(supernet, rank=3, alpha=1.0, norms=norms, generator=torch.Generator())
    adapters = sum(one.numel() for one in supernet.model.parameters() if one.requires_grad)
    assert (full.num_parameters, full.num_trained) == (num_parameters, num_parameters)
    assert (low.num_parameters, low.num_trained) == (num_parameters, adapters)
    assert low.weights_bytes == 4 * (num_parameters + adapters)
    assert low.optimizer_bytes == 12 * adapters


def test_a_teacher_is_a_copy_unless_adapters_hide_it() -> None:
    supernet, teacher = Supernet(tiny_model("llama")), {"distillation": {"teacher": "original"}}
    copy_bytes = 4 * supernet.model.num_parameters()
    assert estimated(supernet, **teacher).weights_bytes == estimated(supernet).weights_bytes + copy_bytes
    low = {"lora": {"rank": 3}}
    assert estimated(supernet, **teacher, **low).weights_bytes == estimated(supernet, **low).weights_bytes


def test_steps_passes_and_tokens_are_counted() -> None:
    found = estimated(Supernet(tiny_model("llama")), steps=10, gradient_accumulation=3, sandwich={"num_random": 1})
    assert (found.num_steps, found.num_passes, found.num_tokens) == (10, 90, 10 * 3 * 4 * 32)
    assert estimated(Supernet(tiny_model("bert")), examples="classification").num_tokens is None


def test_activations_are_near_what_autograd_keeps() -> None:
    """Of the bundled model, without its logits: within a third."""
    supernet = Supernet.load("bundled", device="cpu")
    supernet.model.float().requires_grad_(True)
    weights = {one.untyped_storage().data_ptr() for one in supernet.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.ones(4, 32, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = supernet.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert hidden.requires_grad
    assert estimated(supernet).activations_bytes == pytest.approx(sum(kept.values()), rel=1 / 3)


def test_few_logits_are_taught() -> None:
    supernet = Supernet(tiny_model("llama"))
    assert estimated(supernet, distillation={"type": "none"}).logits_bytes == 4 * 128 * NUM_LOGITS * 96
    assert estimated(supernet, distillation={"top_k": 8}).logits_bytes == 4 * 128 * (NUM_LOGITS * 96 + 24)
    assert estimated(supernet).logits_bytes == 4 * 128 * (NUM_LOGITS + 1) * 96
    batch = Batch(inputs={"input_ids": torch.ones(4, 32, dtype=torch.int64)})
    assert predict(supernet.model, batch, predicts_tokens=True).logits_NV.shape == (4 * 31, 96)


def test_no_weight_is_loaded() -> None:
    config = TrainSupernetConfig.model_validate({"model": "bundled"})
    found = estimate_training(config)
    assert found.num_parameters == Supernet.load("bundled", device="cpu").model.num_parameters()
    assert found.total_bytes > 16 * found.num_parameters
