"""Gates on every unit of a full model: they remove units from it, and their gradients are the units' scores.

With a gate m on a unit, ∂L/∂m at m = 1 is Σ W ∘ ∂L/∂W over the unit's row or column: GRAIN's score but for its sign.

Legend: L layers, H query heads, K KV groups, U query units, D head_dim, N neurons.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.grain.units import Units, UnitScores
from nas.supernet.dim_masking import DimScales, dims_scaled
from nas.supernet.masking import UnitScales, scaled
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gates:
    """Leaves of the graph: 1 for what is kept, 0 for the rest.

    Attributes:
        queries_LHD: ``(num_layers, num_heads, head_dim)``.
        values_LHD: ``(num_layers, num_heads, head_dim)``.
        neurons_LN: ``(num_layers, num_neurons)``.
    """

    queries_LHD: Tensor
    values_LHD: Tensor
    neurons_LN: Tensor

    @classmethod
    def of(cls, units: Units, device: torch.device) -> "Gates":
        """New ones without gradients."""
        per_group = units.shape.heads_per_group

        def leaf(mask: Any) -> Tensor:
            return torch.from_numpy(mask.astype(np.float32)).to(device).requires_grad_()

        return cls(
            queries_LHD=leaf(units.query_dims_LKD.repeat(per_group, axis=1)),
            values_LHD=leaf(units.values_LKD.repeat(per_group, axis=1)),
            neurons_LN=leaf(units.neurons_LN),
        )

    def scores(self, loss: Tensor, shape: SupernetShape) -> UnitScores:
        """Sizes of a loss's gradients, summed over what leaves with a unit; they may be infinite or NaN.

        The graph stays, for the loss to train by. Gradients of weights are not computed here, half of a backward pass.
        """
        leaves = (self.queries_LHD, self.values_LHD, self.neurons_LN)
        queries_LHD, values_LHD, neurons_LN = (
            gradient.double().cpu().numpy() for gradient in torch.autograd.grad(loss, leaves, retain_graph=True)
        )
        queries_LKD, values_LKD = (_by_group(one, shape) for one in (queries_LHD, values_LHD))
        pairs, rest = shape.rotary_dims // 2, queries_LKD[..., shape.rotary_dims // 2 :]
        queries_LKU = np.concatenate([queries_LKD[..., :pairs] + rest[..., :pairs], rest[..., pairs:]], axis=2)
        return UnitScores(
            queries_LKU=np.abs(queries_LKU),
            values_LKD=np.abs(values_LKD),
            heads_LK=np.abs(values_LKD.sum(axis=2)),
            neurons_LN=np.abs(neurons_LN),
        )


@contextmanager
def gated(student: Supernet, units: Units) -> Iterator[Gates]:
    """Lets a full model compute what ``units`` keep until the block is left.

    It computes what the extracted sub-network does: a sublayer without units adds nothing, not even its bias, and a
    layer without units hands on its input.
    """
    gates = Gates.of(units, student.device)
    heads_L, neurons_L = np.asarray(units.values_LKD.any(axis=(1, 2))), np.asarray(units.neurons_LN.any(axis=1))
    like = gates.neurons_LN.detach()
    scales = UnitScales(
        heads_LH=like.new_ones(units.shape.num_layers, units.shape.num_heads),
        neurons_LN=gates.neurons_LN,
        attention_L=torch.from_numpy(heads_L).to(like),
        mlp_L=torch.from_numpy(neurons_L).to(like),
    )
    dims = DimScales(queries_LHD=gates.queries_LHD, values_LHD=gates.values_LHD)
    with ExitStack() as stack:
        stack.enter_context(scaled(student, scales))
        stack.enter_context(dims_scaled(student, dims))
        for index in np.flatnonzero(~heads_L & ~neurons_L):
            stack.callback(student.layers[index].register_forward_hook(_hand_on_input).remove)
        yield gates


def _hand_on_input(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    del layer, output
    return inputs[0]


def _by_group(gradient_LHD: Any, shape: SupernetShape) -> Any:
    grouped = (shape.num_layers, shape.num_kv_groups, shape.heads_per_group, shape.head_dim)
    return gradient_LHD.reshape(grouped).sum(axis=2)
