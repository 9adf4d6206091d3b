from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.supernet.importance import importance_scores
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

BATCHES = [token_ids(3), token_ids(1, seed=2)]


def inputs_of(model: Any, module: Any) -> Tensor:
    """``(num_tokens, num_features)``: what the module gets from all batches."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(0, -2)))
    with torch.no_grad():
        for ids_BT in BATCHES:
            model(input_ids=ids_BT)
    handle.remove()
    return torch.cat(seen).double()


def test_neuron_is_worth_the_root_mean_square_of_what_it_adds() -> None:
    """Llama's MLP computed by hand, neuron by neuron."""
    supernet = Supernet(tiny_model("llama"))
    scores = importance_scores("activation", supernet, batches_of(*BATCHES))
    for number, layer in enumerate(supernet.layers):
        mlp: Any = layer.mlp
        inputs_TD = inputs_of(supernet.model, mlp)
        gate_NI, up_NI, down_IN = (m.weight.double() for m in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        neurons_TN = functional.silu(inputs_TD @ gate_NI.T) * (inputs_TD @ up_NI.T)
        added_TIN = neurons_TN[:, None, :] * down_IN
        expected_N = added_TIN.square().sum(dim=1).mean(dim=0).sqrt()
        np.testing.assert_allclose(scores.neurons_LN[number], expected_N, rtol=1e-5)
        assert scores.mlp_L[number] == pytest.approx(float(expected_N.square().sum().sqrt()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "path"), [("llama", "self_attn.o_proj"), ("opt", "self_attn.out_proj"), ("bert", "attention.output.dense")]
)
def test_head_is_worth_the_features_it_adds(name: str, path: str) -> None:
    supernet = Supernet(tiny_model(name))
    scores = importance_scores("activation", supernet, batches_of(*BATCHES))
    for number, layer in enumerate(supernet.layers):
        projection = layer.get_submodule(path)
        inputs_TF = inputs_of(supernet.model, projection)
        squares_F = inputs_TF.square().mean(dim=0) * projection.get_parameter("weight").double().square().sum(dim=0)
        squares_H = squares_F.reshape(supernet.shape.num_heads, -1).sum(dim=1)
        np.testing.assert_allclose(scores.heads_LH[number], squares_H.sqrt(), rtol=1e-5)
        assert scores.attention_L[number] == pytest.approx(float(squares_H.sum().sqrt()), rel=1e-5)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_batching_does_not_matter(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    once = importance_scores("activation", supernet, batches_of(*[torch.cat(BATCHES)]))
    cut = importance_scores("activation", supernet, batches_of(*BATCHES))
    np.testing.assert_allclose(cut.heads_LH, once.heads_LH, rtol=1e-4)
    np.testing.assert_allclose(cut.neurons_LN, once.neurons_LN, rtol=1e-4)


def test_stored_input_first_or_output_first() -> None:
    """Of GPT-2 (``Conv1D``) the rows, of Llama the columns: a unit twice as loud is worth twice as much."""
    for name, path in (("gpt2", "mlp.c_proj"), ("llama", "mlp.down_proj")):
        scores = []
        for factor in (1.0, 2.0, 0.0):
            supernet = Supernet(tiny_model(name))
            weight = supernet.layers[-1].get_submodule(path).get_parameter("weight")
            units_NI = weight if name == "gpt2" else weight.T
            units_NI[5] *= factor
            scores.append(importance_scores("activation", supernet, batches_of(*BATCHES)).neurons_LN[-1])
        assert scores[1][5] == pytest.approx(2 * scores[0][5])
        assert scores[2][5] == 0
        np.testing.assert_allclose(np.delete(scores[1], 5), np.delete(scores[0], 5))
