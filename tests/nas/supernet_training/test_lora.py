"""Adapters beside every projection of every family: merged, they compute what they computed unmerged."""

import pytest
import torch

from nas.supernet.masking import masked
from nas.supernet.supernet import Supernet
from nas.supernet_training.lora import AdaptedProjection, Adapters
from tests.nas.supernet.test_supernet import assert_equal_logits, candidates, logits_of
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids
from tests.nas.supernet_training.prefixes import prefixes

families = pytest.mark.parametrize("name", TINY_MODELS)


def adapted(name: str, *, rank: int = 3) -> tuple[Supernet, Adapters]:
    """With adapters, and norms, that have learnt something."""
    supernet = Supernet(tiny_model(name).double())
    adapters = Adapters.attach(supernet, rank=rank, alpha=2.0, norms=True, generator=torch.Generator().manual_seed(0))
    supernet.model.double()
    with torch.no_grad():
        for norm, path, _ in adapters.norms:
            norm.get_parameter(path).add_(0.3).requires_grad_(False)
    for module in adapters.modules:
        torch.nn.init.normal_(module.up.weight, std=0.3)
        module.requires_grad_(False)
    return supernet, adapters


@families
def test_new_adapters_change_nothing(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    before = logits_of(supernet.model, ids)
    Adapters.attach(supernet, rank=2, alpha=2.0, norms=True, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits_of(supernet.model, ids), before)


@families
def test_merged_is_unmerged_for_every_sub_network(name: str) -> None:
    """The full one, slices, and masks that are no prefix; before merging by views, after merging by masks."""
    supernet, adapters = adapted(name)
    ids, sub_networks = token_ids(), [*prefixes(supernet.shape), *candidates(supernet.shape)]
    unmerged = []
    for sub_network in sub_networks:
        with supernet.activate(sub_network) as model:
            unmerged.append(logits_of(model, ids))
    family = adapters.family
    adapters.merge()
    assert supernet.family is family
    assert not any(isinstance(module, AdaptedProjection) for module in supernet.model.modules())
    for sub_network, expected in zip(sub_networks, unmerged, strict=True):
        with masked(supernet, sub_network) as model:
            assert_equal_logits(logits_of(model, ids), expected)


@families
def test_off_the_model_is_as_without_and_on_again_afterwards(name: str) -> None:
    supernet, adapters = adapted(name)
    ids, bare = token_ids(), logits_of(Supernet(tiny_model(name)).model.double(), token_ids())
    unmerged = logits_of(supernet.model, ids)
    with adapters.off():
        torch.testing.assert_close(logits_of(supernet.model, ids), bare)
    assert torch.equal(logits_of(supernet.model, ids), unmerged)
    assert not torch.allclose(unmerged, bare)


@families
def test_only_adapters_are_trained_and_under_a_slice_only_its_part(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    adapters = Adapters.attach(supernet, rank=2, alpha=2.0, generator=torch.Generator().manual_seed(0))
    trained = {path for path, one in supernet.model.named_parameters() if one.requires_grad}
    assert len(trained) == 2 * len(adapters.modules)
    assert all(path.endswith((".up.weight", ".down.weight")) for path in trained)
    sub_network = prefixes(supernet.shape)[3]
    with supernet.activate(sub_network) as model:
        model(input_ids=token_ids()).logits.square().mean().backward()
    for layer, num_neurons in enumerate(sub_network.num_neurons):
        down = supernet.layers[layer].get_submodule(supernet.family.mlp.output.removesuffix(".base") + ".up")
        gradient = down.get_parameter("weight").grad
        assert (gradient is None) == (num_neurons == 0)
    assert all(one.grad is None for path, one in supernet.model.named_parameters() if path not in trained)


@families
def test_norms_are_trained_where_that_is_asked_for_and_nothing_else_that_is_not_an_adapter(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    Adapters.attach(supernet, rank=2, alpha=2.0, norms=True, generator=torch.Generator().manual_seed(0))
    trained = {path: one for path, one in supernet.model.named_parameters() if one.requires_grad}
    norms = {path for path in trained if not path.endswith((".up.weight", ".down.weight"))}
    named = {path for path, _ in supernet.model.named_parameters() if "norm" in path.lower() or ".ln_" in path}
    assert norms == named
    assert len(norms) > supernet.shape.num_layers
    with supernet.activate(prefixes(supernet.shape)[3]) as model:
        model(input_ids=token_ids()).logits.square().mean().backward()
    gradients = [trained[path].grad for path in norms if trained[path].grad is not None]
    assert len(gradients) > 1
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_scale_is_alpha_over_rank() -> None:
    """y = W x + (alpha / rank) up (down x), written out."""
    base = torch.nn.Linear(5, 4, bias=True).requires_grad_(False)
    module = AdaptedProjection(base, rank=2, scale=1.5, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(module.up.weight)
    x = torch.randn(3, 5)
    expected = x @ base.weight.T + base.bias + 1.5 * (x @ module.down.weight.T) @ module.up.weight.T
    torch.testing.assert_close(module(x), expected)
