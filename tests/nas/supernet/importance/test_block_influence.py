from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.supernet.families import FAMILIES
from nas.supernet.importance import importance_scores
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

BATCHES = [token_ids(3), token_ids(1, seed=2)]
MIDWAY = {
    "llama": "post_attention_layernorm",
    "mistral": "post_attention_layernorm",
    "qwen2": "post_attention_layernorm",
    "qwen3": "post_attention_layernorm",
    "phi3": "post_attention_layernorm",
    "gemma2": "pre_feedforward_layernorm",
    "gemma3_text": "pre_feedforward_layernorm",
    "gpt2": "ln_2",
    "opt": "final_layer_norm",
}
"""The norm that reads the residual stream between attention and MLP."""


def influence(before_TD: Tensor, after_TD: Tensor) -> float:
    return float((1 - functional.cosine_similarity(before_TD.double(), after_TD.double(), dim=-1)).mean())


def streams(supernet: Supernet, number: int, midway: str) -> list[Tensor]:
    """The residual stream before a layer, between its sublayers, and behind it."""
    layer = supernet.layers[number]
    seen: list[list[Tensor]] = [[], [], []]

    def first(value: Any) -> Tensor:
        tensor: Tensor = value[0] if isinstance(value, tuple) else value
        return tensor.flatten(0, -2)

    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: seen[0].append(first(inputs))),
        layer.get_submodule(midway).register_forward_pre_hook(lambda _, inputs: seen[1].append(first(inputs))),
        layer.register_forward_hook(lambda _, inputs, output: seen[2].append(first(output))),
    ]
    with torch.no_grad():
        for ids_BT in BATCHES:
            supernet.model(input_ids=ids_BT)
    for handle in handles:
        handle.remove()
    return [torch.cat(stream) for stream in seen]


@pytest.mark.parametrize("name", MIDWAY)
def test_turn_of_the_residual_stream(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    scores = importance_scores("block_influence", supernet, batches_of(*BATCHES))
    for number in range(supernet.shape.num_layers):
        before_TD, midway_TD, after_TD = streams(supernet, number, MIDWAY[name])
        assert scores.attention_L[number] == pytest.approx(influence(before_TD, midway_TD), rel=1e-3)
        assert scores.mlp_L[number] == pytest.approx(influence(midway_TD, after_TD), rel=1e-3)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_sublayer_that_adds_nothing_has_no_influence(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    family = FAMILIES[name]
    for number, sublayer in ((1, family.attention), (2, family.mlp)):
        for parameter in supernet.layers[number].get_submodule(sublayer.output).parameters():
            parameter.zero_()
    scores = importance_scores("block_influence", supernet, batches_of(*BATCHES))
    assert scores.attention_L[1] == pytest.approx(0, abs=1e-6)
    assert scores.mlp_L[2] == pytest.approx(0, abs=1e-6)
    assert (np.delete(scores.attention_L, 1) > 1e-5).all()
    assert (np.delete(scores.mlp_L, 2) > 1e-5).all()


def test_units_are_worth_as_much_as_their_sublayer() -> None:
    scores = importance_scores("block_influence", Supernet(tiny_model("llama")), batches_of(*BATCHES))
    assert (scores.heads_LH == scores.attention_L[:, None]).all()
    assert (scores.neurons_LN == scores.mlp_L[:, None]).all()
    assert (scores.attention_L <= 2).all()
    assert (scores.mlp_L <= 2).all()
