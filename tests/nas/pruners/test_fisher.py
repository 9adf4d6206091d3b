"""The Fisher pruner's parts together, on gradients of a real (tiny) model."""

import numpy as np
import pytest

from nas.pruners import Evidence, flops_costs, parameter_costs
from nas.pruners.fisher import prune_by_fisher, rearranged, search_by_fisher
from nas.pruners.random_units import keep_random_units
from nas.supernet.importance.base import Scores
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import BoolMask
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

BATCHES = batches_of(*(token_ids(2, seed=seed) for seed in range(12)))


@pytest.fixture(scope="module", params=["llama", "bert"])
def evidence(request: pytest.FixtureRequest) -> Evidence:
    return Evidence(Supernet(tiny_model(request.param)), BATCHES)


def loss_of_second_order(gradients_BLU: Scores, kept_LU: BoolMask) -> Scores:
    """``(num_layers,)``: (1−m)ᵀ F (1−m) with F formed in full."""
    removed_LU = 1.0 - kept_LU
    return np.array(
        [
            removed_U @ (gradients_BU.T @ gradients_BU) @ removed_U
            for gradients_BU, removed_U in zip(gradients_BLU.swapaxes(0, 1), removed_LU, strict=True)
        ]
    )


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_rearrangement_keeps_the_counts_and_lowers_the_loss_in_every_layer(evidence: Evidence, share: float) -> None:
    costs = parameter_costs(evidence.supernet)
    budget = costs.budget_for(evidence.shape, share=share)
    found, diagonal = prune_by_fisher(evidence, costs, budget), search_by_fisher(evidence, costs, budget)
    assert found.num_kv_groups == diagonal.num_kv_groups
    assert found.num_neurons == diagonal.num_neurons
    groups_BLK = evidence.gradients.groups_BLK(evidence.shape)
    for gradients, mask in ((groups_BLK, "kv_groups_LK"), (evidence.gradients.neurons_BLN, "neurons_LN")):
        after = loss_of_second_order(gradients, getattr(found, mask))
        before = loss_of_second_order(gradients, getattr(diagonal, mask))
        assert (after <= before * (1 + 1e-9) + 1e-18).all()


def test_rearrangement_works_on_any_mask(evidence: Evidence) -> None:
    costs = flops_costs(evidence.supernet, context_tokens=16)
    drawn = keep_random_units(evidence, costs, 0.8 * costs.total(evidence.shape))
    found = rearranged(evidence, drawn)
    assert found != drawn
    assert costs.of(found) == costs.of(drawn)
    neurons_BLN = evidence.gradients.neurons_BLN
    before, after = (loss_of_second_order(neurons_BLN, one.neurons_LN).sum() for one in (drawn, found))
    assert after < before


def test_no_exchange_within_a_kind_raises_the_total_of_the_search(evidence: Evidence) -> None:
    """Any kept unit is worth at least as much as any removed one, but for the group that a layer must keep."""
    costs = flops_costs(evidence.supernet, context_tokens=16)
    found = search_by_fisher(evidence, costs, 0.7 * costs.total(evidence.shape))
    neurons_LN = (evidence.clipped_gradients.neurons_BLN**2).sum(axis=0)
    assert neurons_LN[found.neurons_LN].min() >= neurons_LN[~found.neurons_LN].max()
    groups_LK = (evidence.clipped_gradients.groups_BLK(evidence.shape) ** 2).sum(axis=0)
    free_LK = np.ones_like(found.kv_groups_LK)
    free_LK[0, groups_LK[0].argmax()] = False
    kept, removed = groups_LK[found.kv_groups_LK & free_LK], groups_LK[~found.kv_groups_LK]
    assert not len(kept) or not len(removed) or kept.min() >= removed.max()
