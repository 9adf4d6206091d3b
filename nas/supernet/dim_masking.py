"""Multiplying dimensions within the heads of a full model by masks or scales, through hooks.

A factor on a query dimension is one on its product with the key's, so that zero removes both; a factor on a dimension
of a head's output, before the output projection, is one on that value dimension.

Legend: L layers, H query heads, D head_dim, O output features of a projection.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.supernet.intra_attention import head_rows
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DimScales:
    """A factor for every dimension of every query head.

    Attributes:
        queries_LHD: ``(num_layers, num_heads, head_dim)``; multiplies each head's query, before positions turn it.
        values_LHD: ``(num_layers, num_heads, head_dim)``; multiplies each head's output.
    """

    queries_LHD: Tensor
    values_LHD: Tensor

    @classmethod
    def of(cls, sub_network: SubNetwork, *, dtype: torch.dtype, device: torch.device) -> "DimScales":
        """One for what is kept, zero for the rest."""
        per_group = sub_network.shape.heads_per_group
        queries_LHD, values_LHD = (
            torch.from_numpy(dims_LKD.repeat(per_group, axis=1)).to(device, dtype)
            for dims_LKD in (sub_network.query_dims_LKD, sub_network.value_dims_LKD)
        )
        return cls(queries_LHD=queries_LHD, values_LHD=values_LHD)


@contextmanager
def dims_scaled(supernet: Supernet, scales: DimScales) -> Iterator[nn.Module]:
    """Lets the full model compute with ``scales`` until the block is left.

    Gradients flow to the scales where they require them. The supernet's weights must lie in their original order.
    """
    query, *_ = head_rows(supernet.family, supernet.shape)
    positions, dims = range(supernet.shape.num_heads), np.arange(supernet.shape.head_dim)
    rows = torch.from_numpy(np.concatenate([query.rows(position, dims) for position in positions]))
    with ExitStack() as stack:
        for layer, queries_HD, values_HD in zip(supernet.layers, scales.queries_LHD, scales.values_LHD, strict=True):
            projection, output = layer.get_submodule(query.path), layer.get_submodule(supernet.family.attention.output)
            stack.callback(projection.register_forward_hook(_scale_rows(rows, queries_HD.flatten())).remove)
            stack.callback(output.register_forward_pre_hook(_scale_inputs(values_HD.flatten())).remove)
        yield supernet.model


def _scale_rows(rows: Tensor, factors: Tensor) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del module, inputs
        whole_O = factors.new_ones(output.shape[-1]).index_copy(0, rows.to(factors.device), factors)
        return output * whole_O.to(output)

    return hook


def _scale_inputs(factors: Tensor) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        return (inputs[0] * factors.to(inputs[0]), *inputs[1:])

    return hook
