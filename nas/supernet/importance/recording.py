"""Watching what enters the output projections of a supernet while calibration examples run through it.

Padding is left out: it says nothing about the text and would be a part of every mean.

Legend: F features entering an output projection (heads × head_dim, or neurons), B batch, T tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer
from nas.supernet.importance.base import Scores
from nas.supernet.supernet import Supernet

Observer = Callable[[int, Tensor], None]
"""Gets the layer's number and ``(num_tokens, num_features)``."""


@contextmanager
def observing(supernet: Supernet, sublayer: Sublayer, *, units: Observer) -> Iterator[Callable[[Batch], None]]:
    """Shows ``units`` what enters the output projection of ``sublayer`` in every layer.

    Yields:
        A function that runs a batch through the model, without gradients.
    """
    tokens: list[Tensor] = []  # of the batch that is running

    def watch(index: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            del module
            features = inputs[0].detach().flatten(0, -2)
            units(index, features[tokens[-1].to(features.device)])

        return hook

    @torch.no_grad()
    def run(batch: Batch) -> None:
        tokens.append(batch.tokens_BT.flatten())
        supernet.model(**batch.to(supernet.device).inputs)
        tokens.pop()

    with ExitStack() as stack:
        for index, layer in enumerate(supernet.layers):
            stack.callback(layer.get_submodule(sublayer.output).register_forward_pre_hook(watch(index)).remove)
        yield run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureStatistics:
    """What the features before an output projection are like, over all tokens of the calibration examples.

    Attributes:
        mean_LF: ``(num_layers, num_features)`` float64.
        mean_square_LF: ``(num_layers, num_features)`` float64.
        mean_absolute_LF: ``(num_layers, num_features)`` float64.
    """

    mean_LF: Scores
    mean_square_LF: Scores
    mean_absolute_LF: Scores

    @property
    def variance_LF(self) -> Scores:
        """``(num_layers, num_features)``, never negative: rounding may have taken a constant feature below 0."""
        variance: Scores = (self.mean_square_LF - self.mean_LF**2).clip(min=0)
        return variance


def feature_statistics(supernet: Supernet, sublayer: Sublayer, batches: Sequence[Batch]) -> FeatureStatistics:
    """Takes the statistics in one pass over the calibration examples."""
    sums: dict[int, Tensor] = {}
    num_tokens: dict[int, int] = {}

    def add(index: int, features_TF: Tensor) -> None:
        wide_TF = features_TF.double()
        sums_3F = torch.stack([wide_TF.sum(dim=0), wide_TF.square().sum(dim=0), wide_TF.abs().sum(dim=0)]).cpu()
        sums[index] = sums[index] + sums_3F if index in sums else sums_3F
        num_tokens[index] = num_tokens.get(index, 0) + len(features_TF)

    with observing(supernet, sublayer, units=add) as run:
        for batch in batches:
            run(batch)
    means_L3F = torch.stack([sums[index] / num_tokens[index] for index in sorted(sums)])
    mean_LF, mean_square_LF, mean_absolute_LF = means_L3F.unbind(dim=1)
    return FeatureStatistics(
        mean_LF=mean_LF.numpy(), mean_square_LF=mean_square_LF.numpy(), mean_absolute_LF=mean_absolute_LF.numpy()
    )


def output_weight(layer: nn.Module, sublayer: Sublayer) -> Tensor:
    """``(hidden_size, num_features)``: the weight of the output projection, whichever way it is stored."""
    projection = layer.get_submodule(sublayer.output)
    weight = projection.get_parameter("weight").detach()
    return weight.T if isinstance(projection, Conv1D) else weight
