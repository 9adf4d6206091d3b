"""Activation importance: the root mean square of what a unit adds to the residual stream.

    score_i = sqrt( mean over tokens of x_i² ) · ‖W_out[:, i]‖₂

summed in squares over the head_dim features of a head. This is Wanda's score (arXiv:2306.11695) with whole columns as
units, as in the structured variant of FLAP (arXiv:2312.11983). It needs text, but neither labels nor gradients.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.families import Sublayer
from nas.supernet.importance.base import Scores, UnitScores
from nas.supernet.importance.recording import observing
from nas.supernet.supernet import Supernet


@torch.no_grad()
def activation_importance(supernet: Supernet, batches: Sequence[Tensor]) -> UnitScores:
    """Scores of all heads and neurons; a sublayer is worth the root of the sum of its units' squares."""
    attention_LF = _contributions(supernet, supernet.family.attention, batches)
    squares_LH = attention_LF.unflatten(1, (supernet.shape.num_heads, -1)).sum(dim=2)
    squares_LN = _contributions(supernet, supernet.family.mlp, batches)
    return UnitScores(
        heads_LH=_root(squares_LH),
        neurons_LN=_root(squares_LN),
        attention_L=_root(squares_LH.sum(dim=1)),
        mlp_L=_root(squares_LN.sum(dim=1)),
    )


def _contributions(supernet: Supernet, sublayer: Sublayer, batches: Sequence[Tensor]) -> Tensor:
    """``(num_layers, num_features)`` float64: mean square of each feature times its column's squared norm."""
    squares: dict[int, Tensor] = {}
    num_tokens: dict[int, int] = {}

    def add(index: int, inputs_TF: Tensor) -> None:
        total = inputs_TF.double().square().sum(dim=0).cpu()
        squares[index] = squares[index] + total if index in squares else total
        num_tokens[index] = num_tokens.get(index, 0) + len(inputs_TF)

    with observing(supernet, sublayer, units=add) as model:
        for ids_BT in batches:
            model(input_ids=ids_BT.to(supernet.device))
    norms = [_column_norms(layer.get_submodule(sublayer.output)) for layer in supernet.layers]
    return torch.stack([squares[index] / num_tokens[index] * norm for index, norm in enumerate(norms)])


def _column_norms(projection: nn.Module) -> Tensor:
    """``(num_features,)`` float64: squared norm of the weights that each input feature is multiplied with."""
    weight = projection.get_parameter("weight").detach().double().cpu()
    return weight.square().sum(dim=1 if isinstance(projection, Conv1D) else 0)


def _root(squares: Tensor) -> Scores:
    scores: Scores = squares.sqrt().numpy()
    return scores
