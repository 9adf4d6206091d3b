"""First-order Taylor importance: how much the loss would change, to first order, without a unit.

    score_i = | Σ_b ∂ L_b / ∂ m_i |   at m = 1

which equals |Σ W ∘ ∂L/∂W| over the unit's columns of the output projection: the score of LLM-Pruner (arXiv:2305.11627,
"vector-wise"), from gradients summed over the calibration examples.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.inputs import Batch
from nas.supernet.importance.base import UnitScores
from nas.supernet.importance.gradients import MaskGradients, mask_gradients
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape


def taylor_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all units and sublayers.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    return taylor_scores(mask_gradients(supernet, batches), supernet.shape)


def taylor_scores(gradients: MaskGradients, shape: SupernetShape) -> UnitScores:
    """The same from gradients taken before."""
    return UnitScores(
        heads_LH=np.abs(gradients.heads_BLH.sum(axis=0)),
        neurons_LN=np.abs(gradients.neurons_BLN.sum(axis=0)),
        attention_L=np.abs(gradients.attention_BL.sum(axis=0)),
        mlp_L=np.abs(gradients.mlp_BL.sum(axis=0)),
        groups_LK=np.abs(gradients.groups_BLK(shape).sum(axis=0)),
    )
