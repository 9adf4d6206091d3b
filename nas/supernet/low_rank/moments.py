"""Gram matrices of what enters the weight matrices of layers: G = Σ over tokens of x xᵀ.

Matrices that read the residual stream of one sublayer (query, key and value; gate and up) have one input, and so one
Gram matrix. (``nas.supernet.importance.gram`` has those of output projections alone, by original unit number.)

Products are of float64: where tokens are fewer than features, rounding in float32 would give energy to directions that
no token entered by, more than the factors' damping does, and would sort them.

Legend: I input features, T tokens.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.inputs import Batch
from nas.supernet.families import Family

Grams = Mapping[str, Tensor]
"""By path of the matrix in its layer: ``(I, I)`` float64 on the CPU."""


def input_grams(
    model: nn.Module, layers: Sequence[nn.Module], family: Family, batches: Sequence[Batch], *, wanted: range
) -> dict[int, Grams]:
    """Those of some layers, in one pass over the examples.

    Args:
        model: Nothing of it active.
        layers: All of its layers.
        family: Its adapter.
        batches: Calibration examples; padding is left out.
        wanted: Numbers of the layers.

    Returns:
        By number of the layer.
    """
    source_of = _sources(family)
    sums: dict[int, dict[str, Tensor]] = {index: {} for index in wanted}
    tokens: list[Tensor] = []

    def watch(index: int, path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            del module
            features_TI = inputs[0].detach().flatten(0, -2)
            wide_TI = features_TI[tokens[-1].to(features_TI.device)].double()
            gram_II = (wide_TI.T @ wide_TI).cpu()
            sums[index][path] = sums[index][path].add_(gram_II) if path in sums[index] else gram_II

        return hook

    with ExitStack() as stack, torch.no_grad():
        for index in wanted:
            for path in set(source_of.values()):
                handle = layers[index].get_submodule(path).register_forward_pre_hook(watch(index, path))
                stack.callback(handle.remove)
        device = next(model.parameters()).device
        for batch in batches:
            tokens.append(batch.tokens_BT.flatten())
            model(**batch.to(device).inputs)
    return {index: {path: of_layer[source] for path, source in source_of.items()} for index, of_layer in sums.items()}


def _sources(family: Family) -> dict[str, str]:
    """For each matrix, the first one that has the same input."""
    sources = {}
    for sublayer in family.sublayers.values():
        first = sublayer.projections[0].path
        for projection in sublayer.projections:
            sources[projection.path] = first if projection.input is None else projection.path
    return sources
