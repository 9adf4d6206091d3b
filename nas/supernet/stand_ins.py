"""Modules that stand in for parts of a layer while a sub-network is active.

Legend: B batch, T tokens, I input features, O output features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D


class Silent(nn.Module):
    """Adds nothing to the residual stream: one zero, which broadcasts."""

    def forward(self, hidden_BTI: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Returns a zero of shape ``(1,)`` in the input's dtype and on its device."""
        del args, kwargs
        return hidden_BTI.new_zeros(1)


class SilentAttention(nn.Module):
    """``Silent`` for attention modules, which return their weights as well. Touches no KV cache."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """Returns a zero of shape ``(1,)`` and no attention weights."""
        del args, kwargs
        return hidden_states.new_zeros(1), None


class ConcatenatedProjection(nn.Module):
    """A fused projection of which each block is sliced: one product per block, concatenated.

    The kept rows of a fused matrix lie in several stretches, so no single view covers them.

    Attributes:
        weights: Per block ``(O, I)`` views of the fused weight.
        biases: Per block ``(O,)`` views, or empty.
    """

    def __init__(self, weights: list[nn.Parameter], biases: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(biases)

    def forward(self, hidden_BTI: Tensor) -> Tensor:
        """Projects ``(B, T, I)`` to ``(B, T, sum of O)``."""
        biases = self.biases if len(self.biases) else [None] * len(self.weights)
        return torch.cat(
            [functional.linear(hidden_BTI, weight, bias) for weight, bias in zip(self.weights, biases, strict=True)],
            dim=-1,
        )

    def fuse(self, like: nn.Module) -> nn.Module:
        """One module of the kind of ``like`` (``nn.Linear`` or ``Conv1D``) with the kept rows in one matrix."""
        weight_OI = torch.cat(list(self.weights))
        num_outputs, num_inputs = weight_OI.shape
        with torch.device("meta"):
            fused = (
                Conv1D(num_outputs, num_inputs)
                if isinstance(like, Conv1D)
                else nn.Linear(num_inputs, num_outputs, bias=len(self.biases) > 0)
            )
        stored = weight_OI.t().contiguous() if isinstance(like, Conv1D) else weight_OI
        fused.weight = nn.Parameter(stored, requires_grad=False)
        if len(self.biases):
            fused.bias = nn.Parameter(torch.cat(list(self.biases)), requires_grad=False)
        return fused
