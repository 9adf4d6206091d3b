"""The factors of a supernet's matrices: computed when a sub-network first needs them, and kept."""

from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.families import Family
from nas.supernet.low_rank.factors import Factors, factorise
from nas.supernet.low_rank.moments import Grams, input_grams
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

MAX_BYTES = 4 * 2**30
"""Gram matrices held at once; those of a larger supernet are gathered in several passes."""


class Directions:
    """The factors of each matrix of each layer; to be asked for only while nothing of the model is active.

    Attributes:
        layers: All of the model's.
        batches: Calibration examples whose activations say which directions matter; none for plain SVD.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[nn.Module],
        family: Family,
        shape: SupernetShape,
        batches: Sequence[Batch] = (),
    ) -> None:
        self.batches = batches
        self._model = model
        self.layers = layers
        self._family = family
        self._shape = shape
        self._kept: dict[tuple[int, str], Factors] = {}
        self._grams: dict[int, Grams] = {}

    def of(self, sub_network: SubNetwork) -> dict[tuple[int, str], tuple[int, Factors]]:
        """Rank and factors of each matrix that is factorised, by layer and path in it."""
        if sub_network.ranks_LM is None:
            return {}
        found = {}
        for layer, ranks_M in enumerate(sub_network.ranks_LM.tolist()):
            for rank, projection in zip(ranks_M, self._family.projections, strict=True):
                if rank:
                    found[layer, projection.path] = rank, self._factors(layer, projection.path)
        return found

    def _factors(self, layer: int, path: str) -> Factors:
        if (layer, path) not in self._kept:
            projection = self.layers[layer].get_submodule(path)
            stored = projection.get_parameter("weight")
            weight_OI = stored.T if isinstance(projection, Conv1D) else stored
            gram_II = self._grams_of(layer)[path] if self.batches else None
            self._kept[layer, path] = factorise(weight_OI, gram_II)
        return self._kept[layer, path]

    def _grams_of(self, layer: int) -> Grams:
        if layer not in self._grams:
            bytes_a_layer = sum(8 * matrix.num_inputs**2 for matrix in self._shape.matrices)
            at_once = max(1, MAX_BYTES // bytes_a_layer)
            wanted = range(layer, min(layer + at_once, self._shape.num_layers))
            self._grams = input_grams(self._model, self.layers, self._family, self.batches, wanted=wanted)
        return self._grams[layer]
