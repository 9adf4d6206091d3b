"""Fisher mask search: a mask for a budget, from gradients alone (arXiv:2204.09656, Kwon et al.).

    1. search: keep the KV groups and neurons whose I_i = Σ_b g_bi² sum to the most within the budget;
    2. rearrange: within each layer and kind of unit keep as many, but those that minimise (1−m)ᵀ F (1−m) with the
       block-diagonal F = Σ_b g_b g_bᵀ, which sees that two units may do the same.

The third step of the paper, mask tuning, is a recovery (``nas/recovery``). A KV group is one unit: its mask multiplies
all its heads, so their gradients add before they are squared. The paper's code lets heads exceed the budget; here that
is an error.
"""

import numpy as np

from nas.pruners.best_units import of_groups, select_units
from nas.pruners.costs import UnitCosts
from nas.pruners.evidence import Evidence
from nas.pruners.rearrangement import rearrange
from nas.supernet.importance.base import Scores
from search_spaces.sub_network import BoolMask, SubNetwork


def search_by_fisher(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """The first step alone, by the diagonal of the Fisher information.

    Raises:
        BudgetTooSmallError: The groups that must be kept cost more than the budget.
        ImportanceError: The model gives no loss.
    """
    shape, gradients = evidence.shape, evidence.clipped_gradients
    groups_LK = (gradients.groups_BLK(shape) ** 2).sum(axis=0)
    return select_units(groups_LK, (gradients.neurons_BLN**2).sum(axis=0), shape, costs, budget)


def prune_by_fisher(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """Search, then rearrangement; what each layer keeps in number stays. Errors are those of the search."""
    return rearranged(evidence, search_by_fisher(evidence, costs, budget))


def rearranged(evidence: Evidence, sub_network: SubNetwork) -> SubNetwork:
    """Any sub-network of whole KV groups, with units exchanged layer by layer for a smaller loss of second order."""
    shape, gradients = sub_network.shape, evidence.clipped_gradients
    return of_groups(
        _rearrange_layers(gradients.groups_BLK(shape), sub_network.kv_groups_LK),
        _rearrange_layers(gradients.neurons_BLN, sub_network.neurons_LN),
        shape,
    )


def _rearrange_layers(gradients_BLU: Scores, kept_LU: BoolMask) -> BoolMask:
    return np.stack([rearrange(gradients_BLU[:, layer], kept_U) for layer, kept_U in enumerate(kept_LU)])
