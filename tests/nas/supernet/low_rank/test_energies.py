"""Energies of directions against gradients of gates that are put in by hand, one token at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.importance.gradients import loss_of
from nas.supernet.low_rank.energies import direction_energies
from nas.supernet.low_rank.factors import Factors
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids


class Gated(nn.Module):
    """A matrix in factors whose gates are other for every token, so that each has a gradient of its own."""

    def __init__(self, factors: Factors, like: Any, num_tokens: int) -> None:
        super().__init__()
        self._factors, self._bias = factors, like.bias
        self.gates = torch.ones(num_tokens, factors.expand_OR.shape[1], dtype=torch.float64, requires_grad=True)

    def forward(self, hidden: Tensor) -> Tensor:
        reduced_TR = hidden.flatten(0, -2) @ self._factors.reduce_RI.T
        outputs = (reduced_TR * self.gates @ self._factors.expand_OR.T).unflatten(0, hidden.shape[:-1])
        return outputs if self._bias is None else outputs + self._bias


def energies_of(supernet: Supernet, batches: list[Batch]) -> dict[tuple[int, str], Tensor]:
    return direction_energies(
        supernet.model, supernet.layers, supernet.factors(), batches, lambda batch: loss_of(supernet, batch)
    )


@pytest.mark.parametrize("name", TINY_MODELS)
def test_energies_are_squared_gradients_of_gates_token_by_token(name: str) -> None:
    supernet, batches = Supernet(tiny_model(name).double()), batches_of(token_ids(2), token_ids(2, seed=5))
    supernet.order_directions_by(batches)
    found = energies_of(supernet, batches)
    num_tokens = batches[0].inputs["input_ids"].numel()
    assert found.keys() == supernet.factors().keys()
    for layer, path in list(found)[:: len(found) // 5]:
        module = supernet.layers[layer].get_submodule(path)
        assert isinstance(module, nn.Linear | Conv1D)
        gated = Gated(supernet.factors()[layer, path], module, num_tokens)
        supernet.layers[layer].set_submodule(path, gated)
        expected_R = torch.zeros(gated.gates.shape[1], dtype=torch.float64)
        for batch in batches:
            with torch.enable_grad():
                (gradient_TR,) = torch.autograd.grad(loss_of(supernet, batch), [gated.gates])
            expected_R += gradient_TR.square().sum(dim=0)
        supernet.layers[layer].set_submodule(path, module)
        torch.testing.assert_close(found[layer, path], expected_R, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_nothing_is_left_behind(is_frozen: bool) -> None:
    supernet = Supernet(tiny_model("llama"))
    supernet.model.requires_grad_(not is_frozen)
    energies_of(supernet, batches_of(token_ids()))
    assert all(parameter.grad is None for parameter in supernet.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in supernet.model.modules())


def test_padding_is_worth_nothing() -> None:
    """A token that no loss looks at changes no energy."""
    supernet, ids = Supernet(tiny_model("bert").double()), token_ids()
    mask = torch.ones_like(ids)
    mask[:, 8:] = 0
    padded = [Batch(inputs={"input_ids": ids, "attention_mask": mask})]
    short = [Batch(inputs={"input_ids": ids[:, :8], "attention_mask": mask[:, :8]})]
    with_padding, without = energies_of(supernet, padded), energies_of(supernet, short)
    for place, energies_R in with_padding.items():
        torch.testing.assert_close(energies_R, without[place], rtol=1e-3, atol=1e-12)
