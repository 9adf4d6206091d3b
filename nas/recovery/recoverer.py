"""A recovery at work: bound to a supernet and its calibration examples, computed once a sub-network."""

from collections import OrderedDict
from collections.abc import Sequence

from evaluators.inputs import Batch
from nas.recovery.base import Recovery
from nas.supernet.own_weights import SubNetworkWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

NUM_KEPT = 4
"""Recovered weights kept at once: a refit's are as large as a part of the model, and a sub-network is seldom asked for
again after its trial."""


class Recoverer:
    """Gives the recovered weights of any sub-network.

    Args:
        recovery: How quality is won back.
        supernet: Whose sub-networks they are.
        batches: Calibration examples; labels are not looked at.
    """

    def __init__(self, recovery: Recovery, supernet: Supernet, batches: Sequence[Batch]) -> None:
        self._recover = recovery(supernet, [batch.unlabelled for batch in batches])
        self._kept: OrderedDict[SubNetwork, SubNetworkWeights] = OrderedDict()

    def __call__(self, sub_network: SubNetwork) -> SubNetworkWeights | None:
        """Weights in place of the supernet's; None for the supernet itself, which has lost nothing."""
        if sub_network.is_full:
            return None
        if sub_network not in self._kept:
            self._kept[sub_network] = self._recover(sub_network)
            if len(self._kept) > NUM_KEPT:
                self._kept.popitem(last=False)
        return self._kept[sub_network]
