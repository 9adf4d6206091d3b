"""Fisher importance: the squared gradient of the loss with respect to each unit's mask.

    I_i = Σ_b ( ∂ L_b / ∂ m_i )²   at m = 1,

the diagonal of the empirical Fisher information per batch, as in arXiv:2204.09656 (Kwon et al.). Which loss that is,
``gradients.py`` says. Where we differ: batches whose gradient is longer than the median are scaled down to it.
"""

from collections.abc import Sequence

from evaluators.inputs import Batch
from nas.supernet.importance.base import UnitScores
from nas.supernet.importance.gradients import MaskGradients, mask_gradients
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape


def fisher_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all units and sublayers.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    return fisher_scores(mask_gradients(supernet, batches).clipped(), supernet.shape)


def fisher_scores(gradients: MaskGradients, shape: SupernetShape) -> UnitScores:
    """The same from gradients taken before, as they are."""
    return UnitScores(
        heads_LH=(gradients.heads_BLH**2).sum(axis=0),
        neurons_LN=(gradients.neurons_BLN**2).sum(axis=0),
        attention_L=(gradients.attention_BL**2).sum(axis=0),
        mlp_L=(gradients.mlp_BL**2).sum(axis=0),
        groups_LK=(gradients.groups_BLK(shape) ** 2).sum(axis=0),
    )
