"""Where the units of a layer lie: how a unit's rows and columns are viewed, reordered and sliced.

Legend: O output features, I input features, D head_dim.

A stored weight is ``(O, I)`` in ``nn.Linear`` and ``(I, O)`` in transformers' ``Conv1D``. Either side that is made of
units is a run of blocks (one for a plain projection, several for a fused one), and a block is a run of units of equal
width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.changes import Changes, part_of
from nas.supernet.families import Projection, Sublayer, Unit
from nas.supernet.stand_ins import ConcatenatedProjection
from search_spaces.shape import SupernetShape

Kept = int | NDArray[np.int64]
"""Which units of a kind stay: so many from the first on, or those at these positions, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of features that belongs to units of one kind."""

    unit: Unit
    start: int
    num_units: int
    width: int

    def features(self, units: NDArray[np.int64]) -> Tensor:
        """Feature numbers of the given units, in their order."""
        offsets = self.start + units[:, None] * self.width + np.arange(self.width)[None, :]
        return torch.from_numpy(offsets.ravel())

    def kept_features(self, kept: Kept) -> slice | Tensor:
        """Feature numbers of the units that stay: a stretch where they are the first ones."""
        return slice(self.start, self.start + kept * self.width) if isinstance(kept, int) else self.features(kept)


def output_blocks(projection: Projection, shape: SupernetShape) -> list[Block]:
    """The blocks of a projection's output features; empty when it writes into the residual stream."""
    blocks, start = [], 0
    for unit in projection.outputs:
        width = 1 if unit is Unit.NEURON else shape.head_dim * projection.rows_per_head
        block = Block(unit=unit, start=start, num_units=_count(unit, shape), width=width)
        blocks.append(block)
        start += block.num_units * width
    return blocks


def input_block(projection: Projection, shape: SupernetShape) -> Block | None:
    """The block of a projection's input features; None when it reads the residual stream."""
    if projection.input is None:
        return None
    width = 1 if projection.input is Unit.NEURON else shape.head_dim
    return Block(unit=projection.input, start=0, num_units=_count(projection.input, shape), width=width)


def weights_per_unit(layer: nn.Module, sublayer: Sublayer, shape: SupernetShape, unit: Unit) -> int:
    """How many weights leave with one unit of a sublayer: its rows and its columns, without biases."""
    return _per_unit(layer, sublayer, shape, unit, with_bias=False)


def parameters_per_unit(layer: nn.Module, sublayer: Sublayer, shape: SupernetShape, unit: Unit) -> int:
    """How many parameters leave with one unit of a sublayer: its rows, their biases, and its columns."""
    return _per_unit(layer, sublayer, shape, unit, with_bias=True)


def _per_unit(layer: nn.Module, sublayer: Sublayer, shape: SupernetShape, unit: Unit, *, with_bias: bool) -> int:
    count = 0
    for projection in sublayer.projections:
        module = layer.get_submodule(projection.path)
        weight = module.get_parameter("weight")
        for block in output_blocks(projection, shape):
            if block.unit is unit:
                num_inputs = weight.shape[_input_dim(module)]
                count += block.width * (num_inputs + (with_bias and module._parameters.get("bias") is not None))
        block_in = input_block(projection, shape)
        if block_in is not None and block_in.unit is unit:
            count += block_in.width * weight.shape[1 - _input_dim(module)]
    return count


def reorder_units(
    layer: nn.Module,
    sublayer: Sublayer,
    shape: SupernetShape,
    orders: Mapping[Unit, NDArray[np.int64]],
    changes: Changes,
) -> None:
    """Permutes the units of one sublayer in place: the unit at ``order[i]`` moves to position i.

    Args:
        layer: The layer.
        sublayer: Which of its sublayers.
        shape: The supernet's.
        orders: For each kind of unit a permutation of the present positions.
        changes: Records how to put them back.
    """
    for projection in sublayer.projections:
        module = layer.get_submodule(projection.path)
        for block in output_blocks(projection, shape):
            for tensor, dim in _output_tensors(module):
                _reorder(tensor, dim, block, orders[block.unit], changes)
        if (block_in := input_block(projection, shape)) is not None:
            _reorder(module.get_parameter("weight"), _input_dim(module), block_in, orders[block_in.unit], changes)


def keep_units(
    layer: nn.Module, sublayer: Sublayer, shape: SupernetShape, kept: Mapping[Unit, Kept], changes: Changes
) -> None:
    """Lets one sublayer see only some of its units: through views of its weights where these are the first ones.

    Args:
        layer: The layer.
        sublayer: Which of its sublayers.
        shape: The supernet's.
        kept: Which units of each kind stay.
        changes: Records how to put the weights back.
    """
    for projection in sublayer.projections:
        module = layer.get_submodule(projection.path)
        blocks = output_blocks(projection, shape)
        if len(blocks) > 1:
            if any(_num_kept(kept[block.unit]) < block.num_units for block in blocks):
                changes.set_module(layer, projection.path, _concatenated(module, blocks, kept))
        elif blocks:
            features = blocks[0].kept_features(kept[blocks[0].unit])
            for (tensor, dim), name in zip(_output_tensors(module), ("weight", "bias"), strict=False):
                changes.set_parameter(module, name, part_of(tensor, dim, features))
            _set_features(module, changes, outputs=_num_kept(kept[blocks[0].unit]) * blocks[0].width)
        if (block_in := input_block(projection, shape)) is not None:
            features = block_in.kept_features(kept[block_in.unit])
            weight = module.get_parameter("weight")
            changes.set_parameter(module, "weight", part_of(weight, _input_dim(module), features))
            _set_features(module, changes, inputs=_num_kept(kept[block_in.unit]) * block_in.width)


def _num_kept(kept: Kept) -> int:
    return kept if isinstance(kept, int) else len(kept)


def _count(unit: Unit, shape: SupernetShape) -> int:
    return {Unit.QUERY_HEAD: shape.num_heads, Unit.KV_HEAD: shape.num_kv_groups, Unit.NEURON: shape.num_neurons}[unit]


def _input_dim(module: nn.Module) -> int:
    return 0 if isinstance(module, Conv1D) else 1


def _output_tensors(module: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Weight and, where there is one, bias, each with the dimension of its output features."""
    yield module.get_parameter("weight"), 1 - _input_dim(module)
    bias = module._parameters.get("bias")
    if bias is not None:
        yield bias, 0


def _reorder(tensor: Tensor, dim: int, block: Block, order: NDArray[np.int64], changes: Changes) -> None:
    moved = np.flatnonzero(order != np.arange(len(order)))
    changes.reorder(tensor, dim, block.features(moved), block.features(order[moved]))


def _concatenated(module: nn.Module, blocks: list[Block], kept: Mapping[Unit, Kept]) -> ConcatenatedProjection:
    features = [block.kept_features(kept[block.unit]) for block in blocks]
    (weight, dim), *bias = _output_tensors(module)
    return ConcatenatedProjection(
        [part_of(weight, dim, one, transposed=isinstance(module, Conv1D)) for one in features],
        [part_of(tensor, dim, one) for tensor, dim in bias for one in features],
    )


def _set_features(
    module: nn.Module, changes: Changes, *, outputs: int | None = None, inputs: int | None = None
) -> None:
    """Keeps the module's own record of its widths true: ``Conv1D`` computes with it, ``repr`` shows it."""
    names = ("nf", "nx") if isinstance(module, Conv1D) else ("out_features", "in_features")
    for name, count in zip(names, (outputs, inputs), strict=True):
        if count is not None:
            changes.set_attribute(module, name, count)
