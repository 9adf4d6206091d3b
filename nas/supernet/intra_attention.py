"""Activating layers whose heads lack dimensions: their attention is replaced by one of dense kernels.

The rows and columns of what is kept are gathered into new matrices (a copy of that layer's attention, kept units
alone), because no view covers them.

Legend: K KV groups, D head_dim (or hidden_size beside S), S features of the kept units, O output and I input features.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.changes import Changes
from nas.supernet.cut_attention import CutAttention, HeadCuts
from nas.supernet.families import Family
from nas.supernet.layout import output_blocks
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRows:
    """Where one of query, key and value lies: dimension d of the head at position p is row start + p * stride + d.

    Attributes:
        path: Of its projection, from the layer.
        start: Row of the first head.
        stride: Rows from one head to the next.
    """

    path: str
    start: int
    stride: int

    def rows(self, position: int, dims: Numbers) -> Numbers:
        """Of some dimensions of the head at a position."""
        return self.start + position * self.stride + dims


def head_rows(family: Family, shape: SupernetShape) -> tuple[HeadRows, HeadRows, HeadRows]:
    """Those of query, key and value."""
    query, key, value = (
        HeadRows(path=projection.path, start=block.start + part * shape.head_dim, stride=block.width)
        for projection in family.attention.projections
        for block in output_blocks(projection, shape)
        for part in range(projection.rows_per_head)
    )
    return query, key, value


def layer_cuts_heads(sub_network: SubNetwork, index: int) -> bool:
    """Whether a kept head of that layer lacks dimensions."""
    kept_KD = sub_network.kv_groups_LK[index][:, None]
    dims = (sub_network.query_dims_LKD[index], sub_network.value_dims_LKD[index])
    return any(bool((dims_KD != kept_KD).any()) for dims_KD in dims)


def kept_groups(sub_network: SubNetwork, index: int) -> list[int]:
    """The kept KV groups of a layer as they lie in its stand-in: those of equal widths side by side."""
    half = sub_network.shape.rotary_dims // 2
    queries_KD, values_KD = sub_network.query_dims_LKD[index], sub_network.value_dims_LKD[index]

    def widths(group: int) -> tuple[int, int, int, int]:
        return int(queries_KD[group, :half].sum()), int(queries_KD[group].sum()), int(values_KD[group].sum()), group

    return sorted(np.flatnonzero(sub_network.kv_groups_LK[index]).tolist(), key=widths)


def kept_heads(sub_network: SubNetwork, index: int, group: int) -> list[int]:
    """The kept query heads of a group, ascending."""
    per_group = sub_network.shape.heads_per_group
    first = group * per_group
    return [head for head in range(first, first + per_group) if sub_network.heads_LH[index, head]]


def head_cuts(sub_network: SubNetwork, index: int) -> HeadCuts:
    """What the stand-in of a layer keeps."""
    half = sub_network.shape.rotary_dims // 2
    groups = kept_groups(sub_network, index)
    queries, values = sub_network.query_dims_LKD[index, groups], sub_network.value_dims_LKD[index, groups]
    return HeadCuts(
        heads_per_kv_head=sub_network.num_heads[index] // len(groups),
        pairs=tuple(tuple(np.flatnonzero(dims_D[:half]).tolist()) for dims_D in queries),
        singles=tuple(queries[:, 2 * half :].sum(axis=1).tolist()),
        values=tuple(values.sum(axis=1).tolist()),
    )


def output_features(sub_network: SubNetwork, index: int) -> Numbers:
    """``(S,)`` int: the features of the layer's output projection as its stand-in has them.

    By original number: dimension d of head h is h * head_dim + d.
    """
    dims_KD, head_dim = sub_network.value_dims_LKD[index], sub_network.shape.head_dim
    return np.concatenate(
        [
            head * head_dim + np.flatnonzero(dims_KD[group])
            for group in kept_groups(sub_network, index)
            for head in kept_heads(sub_network, index, group)
        ]
    )


def activate_cut_heads(
    layer: nn.Module,
    family: Family,
    order: tuple[Numbers, Numbers],
    sub_network: SubNetwork,
    index: int,
    changes: Changes,
) -> None:
    """Puts a stand-in in the place of a layer's attention.

    Args:
        layer: The layer.
        family: Its adapter.
        order: ``(num_heads,)`` and ``(num_kv_groups,)``: which query head and which KV group lies at each position.
        sub_network: What to keep.
        index: The layer's number.
        changes: Records how to put the attention back.
    """
    heads_at, groups_at = (np.argsort(units) for units in order)
    attention, output = layer.get_submodule(family.attention_module), layer.get_submodule(family.attention.output)
    parts = [
        _rows_of(layer.get_submodule(path), rows)
        for path, rows in _projected_rows(family, sub_network, index, heads_at, groups_at)
    ]
    biases = [bias for _, bias in parts if bias is not None]
    inside = family.output_inside_attention
    stand_in = CutAttention(attention, head_cuts(sub_network, index), bias=bool(biases), output=inside)
    _set_weights(stand_in.query_key_value, torch.cat([weight for weight, _ in parts]), biases)
    features, head_dim = output_features(sub_network, index), sub_network.shape.head_dim
    columns_DS = _columns_of(output, heads_at[features // head_dim] * head_dim + features % head_dim)
    if inside:
        bias = output._parameters.get("bias")
        _set_weights(stand_in.get_submodule(inside), columns_DS, [] if bias is None else [bias])
    else:
        changes.set_parameter(output, "weight", nn.Parameter(columns_DS, requires_grad=False))
        changes.set_attribute(output, "in_features", columns_DS.shape[1])
    for name in stand_in.norms:
        stand_in.add_module(name, _with_pairs_side_by_side(attention.get_submodule(name)))
    changes.set_module(layer, family.attention_module, stand_in.train(attention.training).requires_grad_(False))


def _projected_rows(
    family: Family, sub_network: SubNetwork, index: int, heads_at: Numbers, groups_at: Numbers
) -> Iterator[tuple[str, Numbers]]:
    """Rows of the stand-in's projection, stretch by stretch, as ``CutAttention`` has them: the path and rows there."""
    query, key, value = head_rows(family, sub_network.shape)
    half, groups = sub_network.shape.rotary_dims // 2, kept_groups(sub_network, index)
    queries_KD, values_KD = sub_network.query_dims_LKD[index], sub_network.value_dims_LKD[index]
    turned = [_pairs_side_by_side(np.flatnonzero(queries_KD[group, :half]), half) for group in groups]
    single = [np.flatnonzero(queries_KD[group, 2 * half :]) + 2 * half for group in groups]
    for dims in (turned, single):
        of_heads = [
            query.rows(heads_at[head], dims_D)
            for group, dims_D in zip(groups, dims, strict=True)
            for head in kept_heads(sub_network, index, group)
        ]
        yield query.path, np.concatenate(of_heads)
        yield key.path, np.concatenate([key.rows(groups_at[g], dims_D) for g, dims_D in zip(groups, dims, strict=True)])
    yield value.path, np.concatenate([value.rows(groups_at[g], np.flatnonzero(values_KD[g])) for g in groups])


def _pairs_side_by_side(pairs: Numbers, half: int) -> Numbers:
    return np.stack([pairs, pairs + half], axis=1).ravel()


def _rows_of(projection: nn.Module, rows: Numbers) -> tuple[Tensor, Tensor | None]:
    weight_OI, bias = _weight(projection), projection._parameters.get("bias")
    numbers = torch.from_numpy(rows).to(weight_OI.device)
    return weight_OI[numbers], None if bias is None else bias.detach()[numbers]


def _columns_of(projection: nn.Module, columns: Numbers) -> Tensor:
    weight_OI = _weight(projection)
    return weight_OI[:, torch.from_numpy(columns).to(weight_OI.device)]


def _weight(projection: nn.Module) -> Tensor:
    """``(O, I)``, whichever way it is stored."""
    weight = projection.get_parameter("weight").detach()
    return weight.t() if isinstance(projection, Conv1D) else weight


def _set_weights(projection: nn.Module, weight_OI: Tensor, biases: Sequence[Tensor]) -> None:
    projection.register_parameter("weight", nn.Parameter(weight_OI.contiguous()))
    if biases:
        projection.register_parameter("bias", nn.Parameter(torch.cat([bias.detach() for bias in biases])))


def _with_pairs_side_by_side(norm: nn.Module) -> nn.Module:
    """A copy of a head's norm for dimensions in the order of the stand-in."""
    copied = copy.deepcopy(norm)
    weight_D = copied.get_parameter("weight").detach()
    half = len(weight_D) // 2
    order_D = torch.from_numpy(_pairs_side_by_side(np.arange(half), half)).to(weight_D.device)
    copied.register_parameter("weight", nn.Parameter(weight_D[order_D]))
    return copied
