"""Gram matrices of what enters the output projections: G = Σ over tokens of x xᵀ.

All that a least-squares problem over a sublayer's units needs of the calibration examples, gathered once for all
sub-networks (arXiv:2302.04089 (ZipLM) and others).

Legend: F features entering an output projection (heads × head_dim, or neurons).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer
from nas.supernet.importance.base import Scores
from nas.supernet.importance.recording import observing
from nas.supernet.supernet import Supernet

MAX_BYTES = 4 * 2**30
"""Matrices held at once; a larger supernet is gone through in several passes."""


def gram_matrices(
    supernet: Supernet, sublayer: Sublayer, batches: Sequence[Batch], *, max_bytes: int = MAX_BYTES
) -> Iterator[Tensor]:
    """One matrix a layer, in order.

    Args:
        supernet: With its weights in their original order.
        sublayer: Attention or MLP.
        batches: Calibration examples; padding is left out.
        max_bytes: Room for matrices; as many passes over the examples are made as that takes.

    Yields:
        ``(num_features, num_features)`` float32 on the CPU.
    """
    num_features = supernet.layers[0].get_submodule(sublayer.output).get_parameter("weight").numel()
    num_features //= supernet.shape.hidden_size
    at_once = max(1, max_bytes // (4 * num_features**2))
    for first in range(0, supernet.shape.num_layers, at_once):
        grams: dict[int, Tensor] = {}
        wanted = range(first, min(first + at_once, supernet.shape.num_layers))

        def add(index: int, features_TF: Tensor, grams: dict[int, Tensor] = grams, wanted: range = wanted) -> None:
            if index in wanted:
                wide_TF = features_TF.float()
                gram_FF = (wide_TF.T @ wide_TF).cpu()
                grams[index] = gram_FF if index not in grams else grams[index].add_(gram_FF)

        with observing(supernet, sublayer, units=add) as run:
            for batch in batches:
                run(batch)
        yield from (grams[index] for index in wanted)


def stream_energies(supernet: Supernet, batches: Sequence[Batch]) -> Scores:
    """``(num_layers,)``: Σ over tokens of the squared norm of the residual stream behind each layer."""
    energies = torch.zeros(supernet.shape.num_layers, dtype=torch.float64)
    tokens: list[Tensor] = []

    def watch(index: int) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            del layer, inputs
            hidden_BTD = output[0] if isinstance(output, tuple) else output
            energies[index] += hidden_BTD[tokens[-1].to(hidden_BTD.device)].double().square().sum().cpu()

        return hook

    handles = [layer.register_forward_hook(watch(index)) for index, layer in enumerate(supernet.layers)]
    try:
        with torch.no_grad():
            for batch in batches:
                tokens.append(batch.tokens_BT)
                supernet.model(**batch.to(supernet.device).inputs)
    finally:
        for handle in handles:
            handle.remove()
    result: Scores = energies.numpy()
    return result
