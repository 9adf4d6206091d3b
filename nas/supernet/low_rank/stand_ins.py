"""What computes in the place of a factorised matrix.

Legend: I input features, O output features, R rank.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.changes import Changes
from nas.supernet.low_rank.factors import Factors


class LowRankLinear(nn.Module):
    """y = expand (reduce x) + b: two products in the place of one.

    Attributes:
        reduce: From the input features to the rank, without a bias.
        expand: From the rank to the output features, with the bias of the matrix, if it has one.
    """

    def __init__(self, reduce_RI: Tensor, expand_OR: Tensor, bias_O: nn.Parameter | None) -> None:
        super().__init__()
        rank, num_inputs = reduce_RI.shape
        with torch.device("meta"):
            self.reduce = nn.Linear(num_inputs, rank, bias=False)
            self.expand = nn.Linear(rank, len(expand_OR), bias=bias_O is not None)
        self.reduce.weight = nn.Parameter(reduce_RI, requires_grad=False)
        self.expand.weight = nn.Parameter(expand_OR, requires_grad=False)
        if bias_O is not None:
            self.expand.bias = bias_O

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(…, I)`` to ``(…, O)``."""
        expanded: Tensor = self.expand(self.reduce(hidden))
        return expanded


def costs_less(rank: int, num_outputs: int, num_inputs: int) -> bool:
    """Whether two factors of that rank have fewer weights than the matrix, and so take fewer operations."""
    return rank * (num_outputs + num_inputs) < num_outputs * num_inputs


def factorise_layers(
    layers: Sequence[nn.Module], factorised: Mapping[tuple[int, str], tuple[int, Factors]], changes: Changes
) -> None:
    """Lets matrices compute at their ranks: by two products of views, or by one where that costs no more.

    Args:
        layers: All of the supernet's, those of dropped layers included.
        factorised: Rank and factors by layer and path in it.
        changes: Records how to put the matrices back.
    """
    for (index, path), (rank, factors) in factorised.items():
        projection = layers[index].get_submodule(path)
        if costs_less(rank, len(factors.expand_OR), factors.reduce_RI.shape[1]):
            bias_O = projection._parameters.get("bias")
            stand_in = LowRankLinear(factors.reduce_RI[:rank], factors.expand_OR[:, :rank], bias_O)
            changes.set_module(layers[index], path, stand_in)
        else:
            product_OI = factors.product(rank)
            stored = product_OI.T.contiguous() if isinstance(projection, Conv1D) else product_OI
            changes.set_parameter(projection, "weight", nn.Parameter(stored, requires_grad=False))
