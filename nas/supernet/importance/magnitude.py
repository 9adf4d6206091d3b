"""Magnitude importance: the L2 norm of all weights that belong to a unit alone.

For a head the rows of the query projection and the columns of the output projection (its key and value are shared by
the group); for a neuron its rows and its column. It needs no text. The oldest baseline, and a weak one on its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer, Unit
from nas.supernet.importance.base import UnitScores
from nas.supernet.layout import input_block, output_blocks
from nas.supernet.supernet import Supernet


@torch.no_grad()
def magnitude_importance(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all heads and neurons; a sublayer is worth the norm of its units' weights. ``batches`` is unused."""
    del batches
    layers = supernet.layers
    heads_LH = torch.stack([_squares(layer, supernet, supernet.family.attention, Unit.QUERY_HEAD) for layer in layers])
    neurons_LN = torch.stack([_squares(layer, supernet, supernet.family.mlp, Unit.NEURON) for layer in layers])
    return UnitScores(
        heads_LH=heads_LH.sqrt().numpy(),
        neurons_LN=neurons_LN.sqrt().numpy(),
        attention_L=heads_LH.sum(dim=1).sqrt().numpy(),
        mlp_L=neurons_LN.sum(dim=1).sqrt().numpy(),
    )


def _squares(layer: nn.Module, supernet: Supernet, sublayer: Sublayer, unit: Unit) -> Tensor:
    """``(num_units,)`` float64: summed squares of the weights of each unit of one kind."""
    total = torch.zeros(supernet.shape.num_neurons if unit is Unit.NEURON else supernet.shape.num_heads).double()
    for projection in sublayer.projections:
        module = layer.get_submodule(projection.path)
        stored = module.get_parameter("weight").detach().double().cpu()
        weight_OI = stored.t() if isinstance(module, Conv1D) else stored
        for block in output_blocks(projection, supernet.shape):
            if block.unit is unit:
                rows = weight_OI[block.start : block.start + block.num_units * block.width]
                total += rows.unflatten(0, (block.num_units, -1)).square().sum(dim=(1, 2))
        block_in = input_block(projection, supernet.shape)
        if block_in is not None and block_in.unit is unit:
            total += weight_OI.unflatten(1, (block_in.num_units, -1)).square().sum(dim=(0, 2))
    return total
