"""FLAP's score: how much a unit's output fluctuates around its mean, which a bias could stand in for.

    score_i = Var(x_i) · ‖W_out[:, i]‖₂²       standardised within each layer's sublayer to mean 0 and deviation 1

as in arXiv:2312.11983 (weighted input feature variance); a head's score is the mean over its features. Standardised,
scores of all sublayers compare, and one threshold over all of them sets each layer's width. Here scores are shifted
to begin at 0, which changes no order. A sublayer whose units all score alike gets 0 for each.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.inputs import Batch
from nas.supernet.importance.activation import heads_of, squared_column_norms
from nas.supernet.importance.base import Scores, UnitScores
from nas.supernet.importance.recording import feature_statistics
from nas.supernet.supernet import Supernet


def flap_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all heads and neurons on one scale; a sublayer is worth the sum of its units before standardising."""
    attention, mlp = supernet.family.attention, supernet.family.mlp
    heads_LH, neurons_LN = (
        feature_statistics(supernet, sublayer, batches).variance_LF * squared_column_norms(supernet, sublayer)
        for sublayer in (attention, mlp)
    )
    heads_LH = heads_of(heads_LH, supernet) / supernet.shape.head_dim
    standard_LH, standard_LN = _standardised(heads_LH), _standardised(neurons_LN)
    least = min(standard_LH.min(), standard_LN.min())
    return UnitScores(
        heads_LH=standard_LH - least,
        neurons_LN=standard_LN - least,
        attention_L=heads_LH.sum(axis=1),
        mlp_L=neurons_LN.sum(axis=1),
    )


def _standardised(scores_LU: Scores) -> Scores:
    deviation_L1 = scores_LU.std(axis=1, keepdims=True)
    centred_LU = scores_LU - scores_LU.mean(axis=1, keepdims=True)
    standardised: Scores = np.divide(centred_LU, deviation_L1, out=np.zeros_like(centred_LU), where=deviation_L1 > 0)
    return standardised
