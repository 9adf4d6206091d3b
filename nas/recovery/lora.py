"""Low-rank adapters on the linear projections of a standalone model's layers.

A projection with weight W computes x Wᵀ + (α / r) x Aᵀ Bᵀ in place of x Wᵀ; A and B, of rank r, are trained and W is
not (LoRA, arXiv:2106.09685). B begins at zero, so that an adapted model begins where the model was. Merged, W becomes
W + (α / r) B A, and the model has its own modules again.

Legend: I inputs, O outputs, R rank.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class AdaptedProjection(nn.Module):
    """A frozen projection with a trained low-rank matrix beside it.

    Args:
        projection: ``nn.Linear`` or ``Conv1D``; left as it is until ``merged``.
        rank: At most this; a smaller matrix takes its own smaller side.
        alpha: The adapter's output is scaled by ``alpha / rank``.
        generator: Draws A, on the CPU.
    """

    def __init__(self, projection: nn.Module, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.projection = projection
        weight = projection.get_parameter("weight")
        self._is_transposed = isinstance(projection, Conv1D)
        num_outputs, num_inputs = weight.shape[::-1] if self._is_transposed else weight.shape
        rank = min(rank, num_inputs, num_outputs)
        self._scale = alpha / rank
        # Updates are far smaller than weights: in half precision most would round to nothing.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        bound = 1 / math.sqrt(num_inputs)
        down_RI = (torch.rand(rank, num_inputs, generator=generator) * 2 - 1) * bound
        self.down_RI = nn.Parameter(down_RI.to(weight.device, dtype))
        self.up_OR = nn.Parameter(torch.zeros(num_outputs, rank, device=weight.device, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(..., I)`` to ``(..., O)``."""
        outputs: Tensor = self.projection(inputs)
        low = functional.linear(inputs.to(self.down_RI.dtype), self.down_RI)
        return outputs + (self._scale * functional.linear(low, self.up_OR)).to(outputs.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The projection, with the adapter added to its weight."""
        weight = self.projection.get_parameter("weight")
        change_OI = self._scale * self.up_OR @ self.down_RI
        change = change_OI.t() if self._is_transposed else change_OI
        weight.copy_((weight.to(change.dtype) + change).to(weight.dtype))
        return self.projection


@contextmanager
def adapted(
    model: PreTrainedModel, layers: str, *, rank: int, alpha: float, generator: torch.Generator
) -> Iterator[list[nn.Parameter]]:
    """Lets a model compute with adapters, and merges them into its weights on leaving.

    Where an error ends the block, the model's weights are as they were.

    Args:
        model: A standalone one; its parameters are frozen meanwhile and afterwards.
        layers: The path of its layers below its base model.
        rank: Of the adapters.
        alpha: As in ``AdaptedProjection``.
        generator: Draws the adapters.

    Yields:
        What is to be trained; empty where every sublayer is dropped.
    """
    model.requires_grad_(False)
    root = model.base_model.get_submodule(layers)
    found = [(path, module) for path, module in root.named_modules() if isinstance(module, (nn.Linear, Conv1D))]
    adapters = {path: AdaptedProjection(one, rank=rank, alpha=alpha, generator=generator) for path, one in found}
    for path, adapter in adapters.items():
        root.set_submodule(path, adapter)
    restored: dict[str, nn.Module] = dict(found)
    try:
        yield [parameter for one in adapters.values() for parameter in (one.down_RI, one.up_OR)]
        restored = {path: adapter.merged() for path, adapter in adapters.items()}
    finally:
        for path, projection in restored.items():
            root.set_submodule(path, projection)
