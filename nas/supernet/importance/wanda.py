"""Wanda's score, summed over the weights of a unit (Wanda-sp).

    score_i = Σ_r |W_out[r, i]| · ‖x_i‖₂

with the norm of feature i over all calibration tokens; a head's score is the sum over its features. arXiv:2306.11695
scores single weights; the structured variant is the baseline of arXiv:2312.11983 (FLAP). It needs text, but neither
labels nor gradients.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer
from nas.supernet.importance.activation import heads_of
from nas.supernet.importance.base import Scores, UnitScores
from nas.supernet.importance.recording import feature_statistics, output_weight
from nas.supernet.supernet import Supernet


def wanda_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all heads and neurons; a sublayer is worth the sum of its units."""
    heads_LH = heads_of(_scores(supernet, supernet.family.attention, batches), supernet)
    neurons_LN = _scores(supernet, supernet.family.mlp, batches)
    return UnitScores(
        heads_LH=heads_LH, neurons_LN=neurons_LN, attention_L=heads_LH.sum(axis=1), mlp_L=neurons_LN.sum(axis=1)
    )


def _scores(supernet: Supernet, sublayer: Sublayer, batches: Sequence[Batch]) -> Scores:
    statistics = feature_statistics(supernet, sublayer, batches)
    sizes_LF = np.stack(
        [output_weight(layer, sublayer).double().abs().sum(dim=0).cpu().numpy() for layer in supernet.layers]
    )
    scores: Scores = sizes_LF * np.sqrt(statistics.mean_square_LF)
    return scores
