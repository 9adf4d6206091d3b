"""Rescaling: a factor for every kept neuron, the heads left as they are.

The last step of KCM (arXiv:2303.04185, Nova et al.), which prunes neurons alone. They rescale by mask tuning against
the labelled pipeline's model; against the full model it needs neither labels nor gradients, like the rest of KCM.
"""

from collections.abc import Sequence

from evaluators.inputs import Batch
from nas.recovery.mask_tuning import mask_tuning
from nas.supernet.output_weights import OutputWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


def rescale(supernet: Supernet, sub_network: SubNetwork, batches: Sequence[Batch]) -> OutputWeights:
    """Tunes the factors of all kept neurons, from the first layer to the last.

    Args:
        supernet: Left as it was.
        sub_network: Of its shape.
        batches: Calibration examples, labelled or not.

    Raises:
        RecoveryError: There is no batch.
    """
    return mask_tuning(supernet, sub_network, batches, sublayers=("mlp",))
