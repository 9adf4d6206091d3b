"""A gated model computes what the extracted sub-network does, and its gradients are the formula's."""

from typing import Any

import numpy as np
import pytest
import torch

from nas.grain.gates import gated
from nas.grain.units import Parameters, Units, prune
from nas.pruners.costs import parameter_costs
from nas.supernet.importance.gradients import loss_of
from nas.supernet.supernet import Supernet
from tests.nas.grain.test_units import config, random_scores
from tests.nas.supernet.test_supernet import logits_of
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids


@pytest.mark.parametrize("name", TINY_MODELS)
@pytest.mark.parametrize("share", [0.6, 0.2])
def test_gated_logits_are_those_of_the_extracted_model(name: str, share: float) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    parameters = Parameters.of(supernet.shape, parameter_costs(supernet))
    for seed in range(3):
        scores = random_scores(supernet.shape, seed)
        units = prune(Units.all_of(supernet.shape), scores, parameters, share, config())
        with gated(supernet, units), torch.no_grad():
            gated_logits = logits_of(supernet.model, ids)
        torch.testing.assert_close(
            gated_logits, logits_of(supernet.extract(units.sub_network), ids), rtol=1e-3, atol=1e-3
        )


def test_scores_are_sums_over_rows_columns_pairs_and_groups() -> None:
    """Σ W ∘ ∂L/∂W, written out for a Llama with two query heads of four dimensions in each group."""
    supernet = Supernet(tiny_model("llama"))
    shape, layer, group = supernet.shape, 2, 1
    attention = supernet.layers[layer].get_submodule("self_attn")
    weights = {name: attention.get_submodule(f"{name}_proj").get_parameter("weight") for name in "qo"}
    down = supernet.layers[layer].get_submodule("mlp.down_proj").get_parameter("weight")
    for weight in (*weights.values(), down):
        weight.requires_grad_()
    with gated(supernet, Units.all_of(shape)) as gates:
        loss = loss_of(supernet, batches_of(token_ids())[0])
        scores = gates.scores(loss, shape)
        loss.backward()

    def products(weight: torch.Tensor, dim: int) -> np.ndarray[Any, Any]:
        assert weight.grad is not None
        return (weight * weight.grad).sum(dim=dim).detach().numpy()

    rows, columns = products(weights["q"], 1), products(weights["o"], 0)
    of_dims = rows[8:12] + rows[12:16]
    by_head = columns.reshape(8, 4)
    for found, expected in (
        (scores.queries_LKU[layer, group], of_dims[:2] + of_dims[2:]),
        (scores.values_LKD[layer, group], by_head[2] + by_head[3]),
        (scores.heads_LK[layer, group], by_head[2:4].sum()),
        (scores.neurons_LN[layer], products(down, 0)),
    ):
        np.testing.assert_allclose(found, np.abs(expected), rtol=2e-3, atol=1e-5)
