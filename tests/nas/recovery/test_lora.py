"""Adapters: nothing at first, what the formula says after training, and the same once merged."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nas.recovery.lora import AdaptedProjection, adapted
from nas.supernet.supernet import Supernet
from tests.nas.supernet.test_supernet import assert_equal_logits, candidates, logits_of
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids


@contextmanager
def with_adapters(supernet: Supernet, model: PreTrainedModel) -> Iterator[list[nn.Parameter]]:
    rng = torch.Generator().manual_seed(0)
    with adapted(model, supernet.family.layers, rank=3, alpha=6.0, generator=rng) as parameters:
        yield parameters


@pytest.mark.parametrize("family", TINY_MODELS)
def test_merged_logits_are_unmerged_logits(family: str) -> None:
    supernet, ids = Supernet(tiny_model(family).double()), token_ids()
    model = supernet.extract(candidates(supernet.shape)[-1])
    names, before = [name for name, _ in model.named_parameters()], logits_of(model, ids)
    with with_adapters(supernet, model) as parameters:
        assert torch.equal(logits_of(model, ids), before)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        unmerged = logits_of(model, ids)
    assert (unmerged - before).abs().max() > 1e-3
    assert_equal_logits(logits_of(model, ids), unmerged)
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("make", [lambda: nn.Linear(7, 5), lambda: Conv1D(5, 7)])
def test_an_adapter_adds_the_low_rank_product(make: type[nn.Module]) -> None:
    projection, inputs = make(), torch.randn(2, 3, 7)
    adapter = AdaptedProjection(projection, rank=2, alpha=4.0, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(adapter.up_OR)
    expected = projection(inputs) + 4.0 / 2 * (inputs @ adapter.down_RI.T) @ adapter.up_OR.T
    assert torch.allclose(adapter(inputs), expected, atol=1e-6)
    assert adapter.merged() is projection
    assert torch.allclose(projection(inputs), expected, atol=1e-6)


def test_every_projection_of_the_layers_and_nothing_else_is_trained() -> None:
    supernet = Supernet(tiny_model("llama"))
    model = supernet.extract(candidates(supernet.shape)[0])
    with with_adapters(supernet, model) as parameters:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert {id(one) for one in trained} == {id(one) for one in parameters}
        assert len(parameters) == 2 * 7 * supernet.shape.num_layers
        assert all(min(parameter.shape) == 3 for parameter in parameters)


def test_a_rank_above_the_matrix_is_the_matrix_and_half_precision_trains_in_float32() -> None:
    projection = nn.Linear(4, 2).bfloat16()
    adapter = AdaptedProjection(projection, rank=64, alpha=1.0, generator=torch.Generator().manual_seed(0))
    assert adapter.down_RI.shape == (2, 4)
    assert adapter.down_RI.dtype == adapter.up_OR.dtype == torch.float32
    assert adapter(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_error_leaves_the_model_as_it_was() -> None:
    supernet, ids = Supernet(tiny_model("gpt2")), token_ids()
    model = supernet.extract(candidates(supernet.shape)[-1])
    before = logits_of(model, ids)

    def fail() -> None:
        with with_adapters(supernet, model) as parameters:
            with torch.no_grad():
                parameters[1].add_(1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert torch.equal(logits_of(model, ids), before)
    assert not any(isinstance(module, AdaptedProjection) for module in model.modules())
