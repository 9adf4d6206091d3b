"""Computed once a sub-network, kept for a while, blind to labels."""

from collections.abc import Sequence

import numpy as np
import torch

from evaluators.inputs import Batch
from nas.recovery.base import Recover
from nas.recovery.recoverer import NUM_KEPT, Recoverer
from nas.supernet.output_weights import OutputWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import tiny_model, token_ids


class Counting:
    """A recovery that writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SubNetwork] = []
        self.batches: list[Batch] = []

    def __call__(self, supernet: Supernet, batches: Sequence[Batch]) -> Recover:
        self.batches = list(batches)

        def recover(sub_network: SubNetwork) -> OutputWeights:
            self.asked.append(sub_network)
            return OutputWeights()

        return recover


def without_neuron(supernet: Supernet, neuron: int) -> SubNetwork:
    full = SubNetwork.full(supernet.shape)
    neurons_LN = np.array(full.neurons_LN)
    neurons_LN[1, neuron] = False
    return SubNetwork(shape=full.shape, heads_LH=full.heads_LH, neurons_LN=neurons_LN)


def test_each_sub_network_once_while_it_is_kept() -> None:
    supernet, recovery = Supernet(tiny_model("llama")), Counting()
    recover = Recoverer(recovery, supernet, [Batch(inputs={"input_ids": token_ids()})])
    first = without_neuron(supernet, 0)
    assert recover(first) is recover(without_neuron(supernet, 0))
    assert len(recovery.asked) == 1
    for neuron in range(1, NUM_KEPT + 1):
        recover(without_neuron(supernet, neuron))
    recover(first)  # which has been displaced
    assert len(recovery.asked) == NUM_KEPT + 2


def test_the_supernet_has_lost_nothing() -> None:
    supernet, recovery = Supernet(tiny_model("llama")), Counting()
    assert Recoverer(recovery, supernet, [])(SubNetwork.full(supernet.shape)) is None
    assert not recovery.asked


def test_labels_stay_outside() -> None:
    supernet, recovery = Supernet(tiny_model("bert")), Counting()
    batch = Batch(inputs={"input_ids": token_ids()}, labels={"labels": torch.tensor([0, 1, 1])})
    Recoverer(recovery, supernet, [batch])(without_neuron(supernet, 0))
    assert [dict(one.labels) for one in recovery.batches] == [{}]
