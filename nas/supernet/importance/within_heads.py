r"""How much each dimension within a head matters: rankings of query units and value dimensions.

Scores compare within one head's queries or values alone, which is what a ranking asks. A dimension serves all query
heads of its KV group, so it is worth what it does for them together; a pair of dimensions that positions turn counts
with the mean of both.

    magnitude    squared weights of its rows and columns
    activation   value: Σ_h mean x² · ‖W_out column‖²; query: Σ_h sqrt(mean q² · mean k²)
    taylor       | Σ_b ∂ L_b / ∂ m |
    fisher       Σ_b ( ∂ L_b / ∂ m )²

Taylor's is GRAIN's (arXiv:2212.07634), which writes it as |Σ W ∘ ∂L/∂W| over a row or column. Methods that have nothing
to say of dimensions leave them to ``activation``.

Legend: L layers, H query heads, K KV groups, D head_dim, U query units, B batches.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.dim_masking import DimScales, dims_scaled
from nas.supernet.importance.activation import squared_column_norms
from nas.supernet.importance.base import DimScores, Scores
from nas.supernet.importance.gradients import loss_of
from nas.supernet.importance.recording import feature_statistics
from nas.supernet.intra_attention import HeadRows, head_rows
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


@torch.no_grad()
def magnitude_dims(supernet: Supernet, batches: Sequence[Batch]) -> DimScores:
    """By the weights of each dimension. ``batches`` is unused."""
    del batches
    shape, (query, key, value) = supernet.shape, head_rows(supernet.family, supernet.shape)
    queries = [
        _by_group(_squared_rows(layer, query, shape.num_heads, shape), shape)
        + _squared_rows(layer, key, shape.num_kv_groups, shape)
        for layer in supernet.layers
    ]
    columns_LF = squared_column_norms(supernet, supernet.family.attention)
    values = [
        _squared_rows(layer, value, shape.num_kv_groups, shape)
        + _by_group(columns_F.reshape(shape.num_heads, -1), shape)
        for layer, columns_F in zip(supernet.layers, columns_LF, strict=True)
    ]
    return DimScores.of(np.stack(queries), np.stack(values), shape)


def activation_dims(supernet: Supernet, batches: Sequence[Batch]) -> DimScores:
    """By what each dimension adds to scores and to the residual stream."""
    shape, (query, key, _) = supernet.shape, head_rows(supernet.family, supernet.shape)
    statistics = feature_statistics(supernet, supernet.family.attention, batches)
    squares_LF = statistics.mean_square_LF * squared_column_norms(supernet, supernet.family.attention)
    values = np.stack([_by_group(squares_F.reshape(shape.num_heads, -1), shape) for squares_F in squares_LF])
    queries_LHD = _sums_of_squares(supernet, batches, query, shape.num_heads)
    keys_LKD = _sums_of_squares(supernet, batches, key, shape.num_kv_groups)
    roots = np.sqrt(queries_LHD * keys_LKD.repeat(shape.heads_per_group, axis=1))
    return DimScores.of(np.stack([_by_group(roots_HD, shape) for roots_HD in roots]), values, shape)


def taylor_dims(supernet: Supernet, batches: Sequence[Batch]) -> DimScores:
    """By the gradient of the loss summed over the examples.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    queries_BLKD, values_BLKD = dim_gradients(supernet, batches)
    return DimScores.of(np.abs(queries_BLKD.sum(axis=0)), np.abs(values_BLKD.sum(axis=0)), supernet.shape)


def fisher_dims(supernet: Supernet, batches: Sequence[Batch]) -> DimScores:
    """By the squared gradients of the batches.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    queries_BLKD, values_BLKD = dim_gradients(supernet, batches)
    return DimScores.of((queries_BLKD**2).sum(axis=0), (values_BLKD**2).sum(axis=0), supernet.shape)


def dim_gradients(supernet: Supernet, batches: Sequence[Batch]) -> tuple[Scores, Scores]:
    """Gradients of the loss with respect to the masks of query and value dimensions, both ``(B, L, K, D)``.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    parameter, shape = next(supernet.model.parameters()), supernet.shape
    rows: list[list[Scores]] = []
    for batch in batches:
        ones = DimScales.of(SubNetwork.full(shape), dtype=parameter.dtype, device=supernet.device)
        masks = [ones.queries_LHD.requires_grad_(), ones.values_LHD.requires_grad_()]
        with torch.enable_grad(), dims_scaled(supernet, ones):
            gradients = torch.autograd.grad(loss_of(supernet, batch.to(supernet.device)), masks)
        rows.append([_by_group(gradient.double().cpu().numpy(), shape) for gradient in gradients])
    queries, values = (np.stack(column) for column in zip(*rows, strict=True))
    return queries, values


DimImportance = Callable[[Supernet, Sequence[Batch]], DimScores]

DIM_IMPORTANCES: dict[str, DimImportance] = {
    "magnitude": magnitude_dims,
    "activation": activation_dims,
    "wanda": activation_dims,
    "flap": activation_dims,
    "taylor": taylor_dims,
    "fisher": fisher_dims,
    "block_influence": activation_dims,
}
"""For each of ``IMPORTANCES``, what ranks dimensions within heads beside it."""


def _by_group(heads: Scores, shape: SupernetShape) -> Scores:
    """``(…, H, D)`` to ``(…, K, D)``: the sum over a group's heads."""
    groups: Scores = heads.reshape(*heads.shape[:-2], shape.num_kv_groups, shape.heads_per_group, -1).sum(axis=-2)
    return groups


def _rows(rows: HeadRows, number: int, shape: SupernetShape) -> Tensor:
    dims = np.arange(shape.head_dim)
    return torch.from_numpy(np.concatenate([rows.rows(position, dims) for position in range(number)]))


def _squared_rows(layer: nn.Module, rows: HeadRows, number: int, shape: SupernetShape) -> Scores:
    projection = layer.get_submodule(rows.path)
    stored = projection.get_parameter("weight")
    weight_OI = stored.t() if isinstance(projection, Conv1D) else stored
    squares = weight_OI.double().square().sum(dim=1).cpu()[_rows(rows, number, shape)]
    result: Scores = squares.reshape(number, -1).numpy()
    return result


def _sums_of_squares(supernet: Supernet, batches: Sequence[Batch], rows: HeadRows, number: int) -> Scores:
    """``(L, number, D)``: of what a projection says of its heads, over all tokens."""
    sums = [torch.zeros(number * supernet.shape.head_dim, dtype=torch.float64) for _ in supernet.layers]
    numbers = _rows(rows, number, supernet.shape)
    tokens: list[Tensor] = []

    def watch(index: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            del module, inputs
            said_TF = output[tokens[-1].to(output.device)].double()
            sums[index] += said_TF.square().sum(dim=0).cpu()[numbers]

        return hook

    with ExitStack() as stack, torch.no_grad():
        for index, layer in enumerate(supernet.layers):
            stack.callback(layer.get_submodule(rows.path).register_forward_hook(watch(index)).remove)
        for batch in batches:
            tokens.append(batch.tokens_BT)
            supernet.model(**batch.to(supernet.device).inputs)
    result: Scores = torch.stack(sums).unflatten(1, (number, -1)).numpy()
    return result
