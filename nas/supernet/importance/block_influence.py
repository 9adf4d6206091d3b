"""Block influence: how much a sublayer turns the residual stream.

    influence = 1 − mean over tokens of cos(x, x + f(x)),

with x the residual stream before the sublayer and f(x) what it adds; ShortGPT's score (arXiv:2403.03853), taken per
sublayer instead of per layer. Units are not told apart: each is worth as much as its sublayer. In a post-norm layer
(BERT) the norm between attention and MLP is left out of account.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.inputs import Batch
from nas.supernet.families import Sublayer
from nas.supernet.importance.base import UnitScores
from nas.supernet.supernet import Supernet


@torch.no_grad()
def block_influence(supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """Scores of all sublayers in [0, 2]."""
    family, shape = supernet.family, supernet.shape
    attention, mlp = _Influence(shape.num_layers), _Influence(shape.num_layers)
    with ExitStack() as stack:
        for index, layer in enumerate(supernet.layers):
            recorder = _LayerRecorder(index, attention, mlp)
            for handle in recorder.watch(layer, family.attention, family.mlp):
                stack.callback(handle.remove)
        for batch in batches:
            attention.tokens_BT = mlp.tokens_BT = batch.tokens_BT
            supernet.model(**batch.to(supernet.device).inputs)
    attention_L, mlp_L = attention.mean(), mlp.mean()
    return UnitScores(
        heads_LH=np.repeat(attention_L[:, None], shape.num_heads, axis=1),
        neurons_LN=np.repeat(mlp_L[:, None], shape.num_neurons, axis=1),
        attention_L=attention_L,
        mlp_L=mlp_L,
    )


class _Influence:
    """Running means of 1 − cos, a layer each, over the tokens that are no padding."""

    tokens_BT: Tensor

    def __init__(self, num_layers: int) -> None:
        self._sums = np.zeros(num_layers)
        self._counts = np.zeros(num_layers)

    def add(self, index: int, before_BTD: Tensor, after_BTD: Tensor) -> None:
        cosines_BT = functional.cosine_similarity(before_BTD.float(), after_BTD.float(), dim=-1)
        influences = (1 - cosines_BT)[self.tokens_BT.to(cosines_BT.device)]
        self._sums[index] += float(influences.sum())
        self._counts[index] += influences.numel()

    def mean(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self._sums / self._counts


class _LayerRecorder:
    """Follows the residual stream through one layer: its input, then what each sublayer adds."""

    def __init__(self, index: int, attention: _Influence, mlp: _Influence) -> None:
        self._index, self._attention, self._mlp = index, attention, mlp
        self._stream_BTD: Tensor | None = None

    def watch(self, layer: nn.Module, attention: Sublayer, mlp: Sublayer) -> list[Any]:
        """Hooks on the layer and on what each sublayer adds."""
        return [
            layer.register_forward_pre_hook(self._start),
            layer.get_submodule(attention.addition).register_forward_hook(self._record(self._attention)),
            layer.get_submodule(mlp.addition).register_forward_hook(self._record(self._mlp)),
        ]

    def _start(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        del module
        self._stream_BTD = inputs[0]

    def _record(self, influence: _Influence) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], added: Tensor) -> None:
            del module, inputs
            assert self._stream_BTD is not None
            before = self._stream_BTD
            after = before + added.view_as(before)
            influence.add(self._index, before, after)
            self._stream_BTD = after

        return hook
