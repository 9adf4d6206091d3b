"""The allocation over sublayers, with curves made by hand, and the whole against chance."""

import numpy as np
import pytest
import torch

from nas.pruners import Evidence, UnitCosts, pruner_named
from nas.pruners.elimination import Elimination
from nas.pruners.obs import Curves, elimination_curves, prune_by_obs
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

BATCHES = batches_of(token_ids(8), token_ids(8, seed=2))
FREE = UnitCosts(name="parameters", head=1, kv_group=0, neuron=1)


def with_curves(curves: Curves) -> Evidence:
    evidence = Evidence(Supernet(tiny_model("llama")), [])
    evidence.once("elimination curves", lambda: curves)
    return evidence


def elimination(errors: list[float]) -> Elimination:
    """Units go from the last to the first."""
    order = torch.arange(len(errors)).flip(0)
    return Elimination(order_U=order, errors_U=torch.tensor(errors, dtype=torch.float64))


def test_the_cheapest_error_goes_first_in_relation_to_the_stream() -> None:
    """Layer 3's stream is a hundred times as strong, so the same errors matter a hundredth."""
    neurons = 24
    flat = elimination([float(i + 1) for i in range(neurons)])
    dear = elimination([1e6 * (i + 1) for i in range(4)])
    curves = Curves(groups=(dear,) * 4, neurons=(flat,) * 4, energies_L=np.array([1.0, 1.0, 1.0, 100.0]))
    evidence = with_curves(curves)
    total = FREE.total(evidence.shape)
    found = prune_by_obs(evidence, FREE, total - 10)
    assert found.num_neurons == (24, 24, 24, 14)
    assert found.neurons_LN[3].tolist() == [True] * 14 + [False] * 10  # the first in the order are the last by number
    found = prune_by_obs(evidence, FREE, total - 24 - 6)
    assert found.num_neurons[3] == 0
    assert sum(found.num_neurons) == 72 - 6


def test_the_last_group_of_a_required_attention_stays() -> None:
    curves = Curves(
        groups=(elimination([0.0] * 4),) * 4,
        neurons=(elimination([1.0] * 24),) * 4,
        energies_L=np.ones(4),
    )
    evidence = with_curves(curves)
    found = prune_by_obs(evidence, FREE, FREE.total(evidence.shape) - 15 * FREE.whole_group(evidence.shape))
    assert found.num_kv_groups == (1, 0, 0, 0)
    assert found.num_neurons == (24,) * 4


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_curves_rise_and_name_every_unit_once(family: str) -> None:
    curves = elimination_curves(Evidence(Supernet(tiny_model(family)), BATCHES))
    for one in (*curves.groups, *curves.neurons):
        assert sorted(np.asarray(one.order_U).tolist()) == list(range(len(one.order_U)))
        assert (np.diff(np.asarray(one.errors_U)) >= -1e-9).all()


def test_neurons_that_copy_another_go_for_nothing() -> None:
    """Four neurons compute what the first does: the first makes up for them, whatever they weigh."""
    supernet = Supernet(tiny_model("llama"))
    with torch.no_grad():
        for layer in supernet.layers:
            for path in ("mlp.gate_proj", "mlp.up_proj"):
                weight = layer.get_submodule(path).get_parameter("weight")
                weight[1:5] = weight[0]
    evidence = Evidence(supernet, BATCHES)
    costs = UnitCosts(name="parameters", head=1, kv_group=0, neuron=1000)
    found = pruner_named("obs")(evidence, costs, costs.total(supernet.shape) - 16_000)
    for layer in range(4):
        assert found.neurons_LN[layer, :5].sum() == 1
        assert found.neurons_LN[layer, 5:].all()
