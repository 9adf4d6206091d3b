"""KCM: neurons kept by weights and unlabelled examples, without a gradient (arXiv:2303.04185, Nova et al.).

    score = R2 · D2,    each scaled to [0, 1] within its layer

R2 ("representative ranking") says from the weights alone how well a neuron stands for the others
(``representatives.py``); D2 ("data driven") is the mean |activation| that enters the second matrix, over all tokens
that are no padding. Neurons of all layers compete; heads all stay. The paper's rescaling of the survivors is the
recovery ``rescale``, which needs no labels either.
"""

import numpy as np
import torch

from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.evidence import Evidence
from nas.pruners.representatives import min_max, representative_scores
from nas.supernet.importance.base import Scores
from nas.supernet.importance.recording import feature_statistics, output_weight
from search_spaces.sub_network import SubNetwork


def prune_by_kcm(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps all heads and the best neurons.

    Raises:
        BudgetTooSmallError: The heads alone cost more than the budget.
    """
    shape = evidence.shape
    scores_LN = evidence.once("kcm", lambda: kcm_scores(evidence))
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


@torch.no_grad()
def kcm_scores(evidence: Evidence) -> Scores:
    """``(num_layers, num_neurons)`` in [0, 1]. Labels are not looked at."""
    supernet, mlp = evidence.supernet, evidence.supernet.family.mlp
    unlabelled = [batch.unlabelled for batch in evidence.batches]
    driven_LN = feature_statistics(supernet, mlp, unlabelled).mean_absolute_LF
    return np.stack(
        [
            (representative_scores(output_weight(layer, mlp).T.float()).cpu() * min_max(torch.from_numpy(driven_N)))
            .double()
            .numpy()
            for layer, driven_N in zip(supernet.layers, driven_LN, strict=True)
        ]
    )
