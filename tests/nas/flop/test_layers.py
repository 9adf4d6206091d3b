"""Gated matrices of every family: open they compute the model, settled what is folded."""

from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.flop.gates import soft
from nas.flop.layers import GatedLinear, fold, put_gates
from nas.supernet.low_rank.energies import Place
from nas.supernet.low_rank.stand_ins import LowRankLinear
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)
Gated = tuple[Any, list[Any], dict[Place, GatedLinear]]


def gated_model(supernet: Supernet) -> Gated:
    model = supernet.extract(SubNetwork.full(supernet.shape))
    layers = list(model.base_model.get_submodule(supernet.family.layers).children())
    batches = batches_of(token_ids(seed=4))

    def loss_of(batch: Batch) -> torch.Tensor:
        """Of any head."""
        return model(**batch.inputs)[0].square().mean()

    gated = put_gates(model, layers, supernet.family, supernet.shape, batches, loss_of)
    return model, layers, gated


def settled(logits_R: torch.Tensor, rank: int) -> torch.Tensor:
    """The largest gates, soft, and 0 for the others."""
    least = logits_R.sort(descending=True).values[rank - 1]
    return torch.where(logits_R >= least, soft(logits_R), 0.0)


@families
def test_open_gates_leave_the_model_as_it_was(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    model, _, gated = gated_model(supernet)
    assert len(gated) == supernet.shape.num_layers * len(supernet.shape.matrices)
    assert_equal_logits(logits_of(model, ids), logits_of(supernet.model, ids))


@families
def test_folded_gates_are_settled_gates(name: str) -> None:
    """Below break-even and above it."""
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    model, layers, gated = gated_model(supernet)
    rng = torch.Generator().manual_seed(3)
    ranks = {}
    for number, (place, one) in enumerate(gated.items()):
        one.logits.data = torch.randn(one.logits.shape, generator=rng, dtype=torch.float64)
        ranks[place] = 1 + number % len(one.logits)
        one.gates = settled(one.logits.detach(), ranks[place])
    expected = logits_of(model, ids)
    fold(layers, gated, ranks)
    assert_equal_logits(logits_of(model, ids), expected)
    for (layer, path), one in gated.items():
        module = layers[layer].get_submodule(path)
        if ranks[layer, path] * one.sides < one.dense:
            assert isinstance(module, LowRankLinear)
            assert module.reduce.out_features == ranks[layer, path]
        else:
            assert isinstance(module, Conv1D if name == "gpt2" else torch.nn.Linear)
        assert all(parameter.requires_grad for parameter in module.parameters())


def test_drawn_gates_change_with_the_generator_alone() -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids()
    model, _, gated = gated_model(supernet)
    logits = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        for one in gated.values():
            one.draw(generator)
        logits.append(logits_of(model, ids))
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
