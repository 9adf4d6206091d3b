"""Sums of squares of the rows and columns of each unit, picked by hand in four layouts of weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.supernet.importance import importance_scores
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import tiny_model

HEADS, NEURONS, HIDDEN = 8, 24, 32
HEAD_DIM = HIDDEN // HEADS

Pieces = Callable[[Any, int], list[Tensor]]
"""The layer's weights that belong to the unit of that number."""


def head(number: int, width: int = HEAD_DIM) -> slice:
    return slice(number * width, (number + 1) * width)


LAYOUTS: dict[str, tuple[Pieces, Pieces]] = {
    "llama": (
        lambda layer, h: [layer.self_attn.q_proj.weight[head(h)], layer.self_attn.o_proj.weight[:, head(h)]],
        lambda layer, n: [layer.mlp.gate_proj.weight[n], layer.mlp.up_proj.weight[n], layer.mlp.down_proj.weight[:, n]],
    ),
    "phi3": (
        lambda layer, h: [layer.self_attn.qkv_proj.weight[head(h)], layer.self_attn.o_proj.weight[:, head(h)]],
        lambda layer, n: [
            layer.mlp.gate_up_proj.weight[n],
            layer.mlp.gate_up_proj.weight[NEURONS + n],
            layer.mlp.down_proj.weight[:, n],
        ],
    ),
    "gpt2": (  # stored input first
        lambda layer, h: [layer.attn.c_attn.weight[:, head(h)], layer.attn.c_proj.weight[head(h)]],
        lambda layer, n: [layer.mlp.c_fc.weight[:, n], layer.mlp.c_proj.weight[n]],
    ),
    "gpt_neox": (  # query, key and value of a head lie side by side
        lambda layer, h: [
            layer.attention.query_key_value.weight[head(h, 3 * HEAD_DIM)],
            layer.attention.dense.weight[:, head(h)],
        ],
        lambda layer, n: [layer.mlp.dense_h_to_4h.weight[n], layer.mlp.dense_4h_to_h.weight[:, n]],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_norm_of_the_weights_of_each_unit(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    scores = importance_scores("magnitude", supernet, [])
    of_head, of_neuron = LAYOUTS[name]
    for number, layer in enumerate(supernet.layers):
        for of_unit, found, of_sublayer in (
            (of_head, scores.heads_LH[number], scores.attention_L[number]),
            (of_neuron, scores.neurons_LN[number], scores.mlp_L[number]),
        ):
            squares = [
                sum(float(piece.double().square().sum()) for piece in of_unit(layer, i)) for i in range(len(found))
            ]
            np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-9)
            assert of_sublayer == pytest.approx(sum(squares) ** 0.5)


def test_unit_without_weights_is_worth_nothing() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight[head(3)] = 0
        model.model.layers[1].self_attn.o_proj.weight[:, head(3)] = 0
    scores = importance_scores("magnitude", Supernet(model), [])
    assert scores.heads_LH[1, 3] == 0
    assert (np.delete(scores.heads_LH.ravel(), HEADS + 3) > 0).all()
