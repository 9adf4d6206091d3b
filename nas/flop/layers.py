"""The factorised layers that FLOP trains: y = expand (z ∘ reduce x) + b.

In the paper's letters P is ``reduce``, diag(z) the gates, and Q is ``expand``.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.flop.gates import first_logits, first_logits_by, sampled, soft
from nas.supernet.families import Family
from nas.supernet.low_rank.directions import Directions
from nas.supernet.low_rank.energies import Place, direction_energies
from nas.supernet.low_rank.factors import Factors
from nas.supernet.low_rank.stand_ins import LowRankLinear, costs_less
from search_spaces.low_rank import with_ranks
from search_spaces.shape import SupernetShape


class GatedLinear(nn.Module):
    """A matrix of full rank in factors, with a gate for each direction.

    Attributes:
        reduce: From the input features to the directions.
        expand: From the directions to the output features, with the matrix's bias.
        logits: ``(num_directions,)`` of the gates.
        gates: ``(num_directions,)``, what they are in the next forward pass.
        is_conv: Whether the matrix was a ``Conv1D``.
    """

    def __init__(self, factors: Factors, like: nn.Module) -> None:
        super().__init__()
        num_directions, num_inputs = factors.reduce_RI.shape
        bias_O = like._parameters.get("bias")
        self.reduce = nn.Linear(num_inputs, num_directions, bias=False)
        self.expand = nn.Linear(num_directions, len(factors.expand_OR), bias=bias_O is not None)
        self.reduce.weight = nn.Parameter(factors.reduce_RI.clone())
        self.expand.weight = nn.Parameter(factors.expand_OR.clone())
        if bias_O is not None:
            self.expand.bias = nn.Parameter(bias_O.detach().clone())
        self.logits = nn.Parameter(first_logits(num_directions).to(factors.reduce_RI))
        self.gates: Tensor = torch.ones_like(self.logits)
        self.is_conv = isinstance(like, Conv1D)

    @property
    def sides(self) -> int:
        """Weights of one direction."""
        return self.expand.out_features + self.reduce.in_features

    @property
    def dense(self) -> int:
        """Weights of the matrix."""
        return self.expand.out_features * self.reduce.in_features

    def draw(self, generator: torch.Generator, shift: Tensor | float = 0.0) -> None:
        """Draws the gates of the next forward pass, all logits higher by ``shift``."""
        self.gates = sampled(self.logits + shift, generator)

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(…, I)`` to ``(…, O)``."""
        reduced: Tensor = self.reduce(hidden)
        expanded: Tensor = self.expand(reduced * self.gates.to(reduced.dtype))
        return expanded

    @torch.no_grad()
    def folded(self, rank: int) -> nn.Module:
        """The layer with its ``rank`` largest gates, soft ones multiplied into ``expand``, and no others.

        Returns:
            Two factors below break-even, else one matrix of the kind that it was.
        """
        kept_r = self.logits.topk(rank).indices
        reduce_rI = self.reduce.weight[kept_r].clone()
        expand_Or = self.expand.weight[:, kept_r] * soft(self.logits)[kept_r]
        bias_O = None if self.expand.bias is None else nn.Parameter(self.expand.bias.clone())
        if costs_less(rank, len(expand_Or), reduce_rI.shape[1]):
            return LowRankLinear(reduce_rI, expand_Or, bias_O).requires_grad_()
        return _one_matrix(expand_Or @ reduce_rI, bias_O, is_conv=self.is_conv)


def put_gates(
    model: nn.Module,
    layers: Sequence[nn.Module],
    family: Family,
    shape: SupernetShape,
    batches: Sequence[Batch],
    loss_of: Callable[[Batch], Tensor],
) -> dict[Place, GatedLinear]:
    """Replaces every matrix of every layer by a gated one that computes the same while all gates are open.

    Args:
        model: Changed in place.
        layers: All of its layers.
        family: Its adapter.
        shape: Its dimensions.
        batches: What sorts the directions, and the gates of all matrices by what they are worth to the loss; none for
            plain SVD and gates in its order, alike in every matrix.
        loss_of: The model's loss on such a batch.
    """
    directions = Directions(model, layers, family, shape, [batch.unlabelled for batch in batches])
    full_M = [matrix.full_rank for matrix in shape.matrices]
    everything = with_ranks(shape, np.tile(full_M, (shape.num_layers, 1)))
    factors_of = {place: factors for place, (_, factors) in directions.of(everything).items()}
    energies = direction_energies(model, layers, factors_of, batches, loss_of)
    gated = {}
    for (layer, path), factors in factors_of.items():
        gated[layer, path] = GatedLinear(factors, layers[layer].get_submodule(path))
    if batches:
        logits = first_logits_by(list(energies.values()), [one.sides for one in gated.values()])
        for one, logits_R in zip(gated.values(), logits, strict=True):
            one.logits.data.copy_(logits_R)
    for (layer, path), module in gated.items():
        layers[layer].set_submodule(path, module)
    return gated


def fold(layers: Sequence[nn.Module], gated: Mapping[Place, GatedLinear], ranks: Mapping[Place, int]) -> None:
    """Replaces every gated matrix by what remains of it at its rank."""
    for (layer, path), module in gated.items():
        layers[layer].set_submodule(path, module.folded(ranks[layer, path]))


def _one_matrix(weight_OI: Tensor, bias_O: nn.Parameter | None, *, is_conv: bool) -> nn.Module:
    num_outputs, num_inputs = weight_OI.shape
    with torch.device("meta"):
        module: nn.Module = (
            Conv1D(num_outputs, num_inputs) if is_conv else nn.Linear(num_inputs, num_outputs, bias=bias_O is not None)
        )
    module.weight = nn.Parameter(weight_OI.T.contiguous() if is_conv else weight_OI)
    if bias_O is not None:
        module.bias = bias_O
    return module
