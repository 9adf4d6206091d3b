"""KCM: neurons kept by weights and unlabelled examples, without a gradient (arXiv:2303.04185, Nova et al.).

    score = R2 · D2,    each scaled to [0, 1] within its layer

R2 ("representative ranking") says from the weights alone how well a neuron stands for the others
(``representatives.py``); D2 ("data driven") is the mean |activation| that enters the second matrix, over all tokens
that are no padding. Neurons of all layers compete; heads all stay. The paper's rescaling of the survivors is the
recovery ``rescale``, which needs no labels either.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.evidence import Evidence
from nas.pruners.representatives import min_max, representative_scores
from nas.supernet.importance.base import Scores
from nas.supernet.importance.recording import feature_statistics, output_weight
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def prune_by_kcm(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps all heads and the best neurons.

    Raises:
        BudgetTooSmallError: The heads alone cost more than the budget.
    """
    return keep_neurons(kcm_scores(evidence), evidence.shape, costs, budget)


def keep_neurons(scores_LN: Scores, shape: SupernetShape, costs: UnitCosts, budget: float) -> SubNetwork:
    """All heads, and as many of the neurons of largest score as the rest of the budget pays for.

    Raises:
        BudgetTooSmallError: The heads alone cost more than the budget.
    """
    heads = costs.outside_units(shape) + shape.num_layers * shape.num_kv_groups * costs.whole_group(shape)
    if not budget >= heads:  # NaN too
        raise BudgetTooSmallError.of(costs.name, "KCM keeps all heads, which", least=heads, received=budget)
    num_neurons = min(int((budget - heads) // costs.neuron), scores_LN.size)
    kept = np.zeros(scores_LN.size, dtype=np.bool_)
    kept[np.argsort(-scores_LN, axis=None, kind="stable")[:num_neurons]] = True
    return SubNetwork(
        shape=shape,
        heads_LH=np.ones((shape.num_layers, shape.num_heads), dtype=np.bool_),
        neurons_LN=kept.reshape(scores_LN.shape),
    )


def kcm_scores(evidence: Evidence) -> Scores:
    """``(num_layers, num_neurons)`` in [0, 1]. Labels are not looked at."""
    return weight_scores(evidence) * data_scores(evidence)


def weight_scores(evidence: Evidence) -> Scores:
    """R2: ``(num_layers, num_neurons)`` in [0, 1], from the weights alone, computed once."""
    return evidence.once("R2", lambda: _weight_scores(evidence.supernet))


def data_scores(evidence: Evidence) -> Scores:
    """D2: ``(num_layers, num_neurons)`` in [0, 1], from unlabelled examples, computed once."""
    return evidence.once("D2", lambda: _data_scores(evidence.supernet, evidence.batches))


@torch.no_grad()
def _weight_scores(supernet: Supernet) -> Scores:
    mlp = supernet.family.mlp
    return _stacked(representative_scores(output_weight(layer, mlp).T.float()) for layer in supernet.layers)


def _data_scores(supernet: Supernet, batches: Sequence[Batch]) -> Scores:
    unlabelled = [batch.unlabelled for batch in batches]
    driven_LN = feature_statistics(supernet, supernet.family.mlp, unlabelled).mean_absolute_LF
    return _stacked(_scaled(torch.from_numpy(driven_N)) for driven_N in driven_LN)


def _scaled(driven_N: Tensor) -> Tensor:
    """To [0, 1] within the layer; 0 for all where nothing is driven at all, so that a dead MLP goes first."""
    return min_max(driven_N) if driven_N.any() else torch.zeros_like(driven_N)


def _stacked(scores: Iterable[Tensor]) -> Scores:
    return np.stack([scores_N.cpu().double().numpy() for scores_N in scores])
