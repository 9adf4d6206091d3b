"""Activation importance: the root mean square of what a unit adds to the residual stream.

    score_i = sqrt( mean over tokens of x_i² ) · ‖W_out[:, i]‖₂

summed in squares over the head_dim features of a head. Wanda (arXiv:2306.11695) scores single weights by
|W| · ‖x‖; this is the root of the sum of their squares over a unit. It needs text, but neither labels nor gradients.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer
from nas.supernet.importance.base import Scores, UnitScores
from nas.supernet.importance.recording import feature_statistics, output_weight
from nas.supernet.supernet import Supernet


def activation_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all heads and neurons; a sublayer is worth the root of the sum of its units' squares."""
    squares_LH = heads_of(_contributions(supernet, supernet.family.attention, batches), supernet)
    squares_LN = _contributions(supernet, supernet.family.mlp, batches)
    return UnitScores(
        heads_LH=np.sqrt(squares_LH),
        neurons_LN=np.sqrt(squares_LN),
        attention_L=np.sqrt(squares_LH.sum(axis=1)),
        mlp_L=np.sqrt(squares_LN.sum(axis=1)),
    )


def heads_of(features_LF: Scores, supernet: Supernet) -> Scores:
    """``(num_layers, num_heads)``: the sums over each head's features."""
    heads_LH: Scores = features_LF.reshape(supernet.shape.num_layers, supernet.shape.num_heads, -1).sum(axis=2)
    return heads_LH


def squared_column_norms(supernet: Supernet, sublayer: Sublayer) -> Scores:
    """``(num_layers, num_features)`` float64: squared norm of the weights each feature is multiplied with."""
    return np.stack(
        [output_weight(layer, sublayer).double().square().sum(dim=0).cpu().numpy() for layer in supernet.layers]
    )


def _contributions(supernet: Supernet, sublayer: Sublayer, batches: Sequence[Batch]) -> Scores:
    statistics = feature_statistics(supernet, sublayer, batches)
    contributions: Scores = statistics.mean_square_LF * squared_column_norms(supernet, sublayer)
    return contributions
