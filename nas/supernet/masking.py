"""Multiplying units of a full model by masks or scales, through hooks.

The slow, plain way to compute a sub-network (nothing is sliced), and the place where gradients with respect to masks
are taken: transformers 5 ignores ``head_mask``.

Legend: B batch, T tokens, H query heads, D head_dim, N neurons.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.supernet.dim_masking import DimScales, dims_scaled
from nas.supernet.families import Sublayer
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScales:
    """A factor for every unit and sublayer; all ones leave the model as it is.

    Attributes:
        heads_LH: ``(num_layers, num_heads)``; multiplies each head's output before the output projection.
        neurons_LN: ``(num_layers, num_neurons)``; multiplies the input of the MLP's output projection.
        attention_L: ``(num_layers,)``; multiplies what the attention adds to the residual stream.
        mlp_L: ``(num_layers,)``; the same for the MLP.
    """

    heads_LH: Tensor
    neurons_LN: Tensor
    attention_L: Tensor
    mlp_L: Tensor

    @classmethod
    def of(cls, sub_network: SubNetwork, *, dtype: torch.dtype, device: torch.device) -> "UnitScales":
        """One for what is kept, zero for the rest."""

        def tensor(mask: Any) -> Tensor:
            return torch.from_numpy(mask.copy()).to(device, dtype)

        return cls(
            heads_LH=tensor(sub_network.heads_LH),
            neurons_LN=tensor(sub_network.neurons_LN),
            attention_L=tensor(sub_network.heads_LH.any(axis=1)),
            mlp_L=tensor(sub_network.neurons_LN.any(axis=1)),
        )


@contextmanager
def scaled(supernet: Supernet, scales: UnitScales) -> Iterator[nn.Module]:
    """Lets the full model compute with ``scales`` until the block is left.

    Gradients flow to the scales where they require them.
    """
    with ExitStack() as stack:
        for index, layer in enumerate(supernet.layers):
            heads_F = scales.heads_LH[index].repeat_interleave(supernet.shape.head_dim)
            _hook(stack, layer, supernet.family.attention, heads_F, scales.attention_L[index])
            _hook(stack, layer, supernet.family.mlp, scales.neurons_LN[index], scales.mlp_L[index])
        yield supernet.model


@contextmanager
def masked(supernet: Supernet, sub_network: SubNetwork) -> Iterator[nn.Module]:
    """Lets the full model compute ``sub_network`` by multiplying what is removed by zero.

    A layer with nothing left hands on its input: in a post-norm family (BERT) its norms go with it. The supernet's
    weights must lie in their original order, because masks are by unit number.
    """
    parameter = next(supernet.model.parameters())
    scales = UnitScales.of(sub_network, dtype=parameter.dtype, device=parameter.device)
    with scaled(supernet, scales) as model, ExitStack() as stack:
        for index in set(range(supernet.shape.num_layers)) - set(sub_network.kept_layers):
            stack.callback(supernet.layers[index].register_forward_hook(_hand_on_input).remove)
        if sub_network.cuts_heads:
            dims = DimScales.of(sub_network, dtype=parameter.dtype, device=parameter.device)
            stack.enter_context(dims_scaled(supernet, dims))
        yield model


def _hand_on_input(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    del layer, output
    return inputs[0]


def _hook(stack: ExitStack, layer: nn.Module, sublayer: Sublayer, units_F: Tensor, whole: Tensor) -> None:
    projection = layer.get_submodule(sublayer.output)

    def scale_units(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        # Layers may lie on several GPUs, and autocast give less precise numbers than the model's.
        return (inputs[0] * units_F.to(inputs[0]), *inputs[1:])

    def scale_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del module, inputs
        return output * whole.to(output)

    addition = layer.get_submodule(sublayer.addition)  # behind a norm, which would undo a scale
    for handle in (projection.register_forward_pre_hook(scale_units), addition.register_forward_hook(scale_output)):
        stack.callback(handle.remove)
