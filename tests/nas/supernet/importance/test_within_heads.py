"""Scores of dimensions within heads, against sums over weights, activations and finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from evaluators.inputs import Batch
from nas.supernet.importance import DIM_IMPORTANCES, IMPORTANCES, DimScores, ImportanceError, importance_scores, rank
from nas.supernet.importance.gradients import loss_of
from nas.supernet.importance.within_heads import (
    activation_dims,
    dim_gradients,
    fisher_dims,
    magnitude_dims,
    taylor_dims,
)
from nas.supernet.intra_attention import head_rows
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

BATCHES = batches_of(token_ids(3), token_ids(2, seed=2))
LAYER, GROUP = 2, 1  # of a Llama with two query heads of four dimensions in each group


@pytest.fixture(scope="module")
def llama() -> Supernet:
    return Supernet(tiny_model("llama").double())


def weight(supernet: Supernet, path: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return supernet.layers[LAYER].get_submodule(path).get_parameter("weight").double().numpy()


def test_each_importance_has_its_dimensions() -> None:
    assert set(DIM_IMPORTANCES) == set(IMPORTANCES)


def test_magnitude_is_the_squares_of_rows_and_columns(llama: Supernet) -> None:
    scores = magnitude_dims(llama, [])
    query, key, value, output = (weight(llama, f"self_attn.{name}_proj") ** 2 for name in "qkvo")
    rows, heads = slice(4 * GROUP, 4 * GROUP + 4), (slice(8, 12), slice(12, 16))
    queries_D = key[rows].sum(axis=1) + sum(query[head].sum(axis=1) for head in heads)
    np.testing.assert_allclose(scores.queries_LKU[LAYER, GROUP], (queries_D[:2] + queries_D[2:]) / 2)
    values_D = value[rows].sum(axis=1) + sum(output[:, head].sum(axis=0) for head in heads)
    np.testing.assert_allclose(scores.values_LKD[LAYER, GROUP], values_D)


def test_activation_is_the_size_of_products(llama: Supernet) -> None:
    said: dict[str, list[torch.Tensor]] = {"q": [], "k": []}
    attention = llama.layers[LAYER].get_submodule("self_attn")
    handles = [
        attention.get_submodule(f"{name}_proj").register_forward_hook(
            lambda _, __, output, name=name: said[name].append(output.flatten(0, 1))
        )
        for name in "qk"
    ]
    with torch.no_grad():
        for batch in BATCHES:
            llama.model(**batch.inputs)
    for handle in handles:
        handle.remove()
    query_F, key_F = ((torch.cat(said[name]) ** 2).sum(dim=0).numpy() for name in "qk")
    queries_D = sum(np.sqrt(query_F[head : head + 4] * key_F[4:8]) for head in (8, 12))
    scores = activation_dims(llama, BATCHES)
    np.testing.assert_allclose(scores.queries_LKU[LAYER, GROUP], (queries_D[:2] + queries_D[2:]) / 2)
    squares_H = importance_scores("activation", llama, BATCHES).heads_LH[LAYER] ** 2
    np.testing.assert_allclose(scores.values_LKD[LAYER, GROUP].sum(), squares_H[2:4].sum())


@pytest.mark.parametrize("name", TINY_MODELS)
def test_gradients_are_the_sums_of_weights_and_their_gradients(name: str) -> None:
    """As arXiv:2212.07634 writes them: W_Q ∘ ∇ + b_Q ∘ ∇ of a row, W_O ∘ ∇ of a column."""
    supernet = Supernet(tiny_model(name).double())
    shape, group, dim = supernet.shape, supernet.shape.num_kv_groups - 1, supernet.shape.head_dim - 1
    labels = {} if supernet.family.is_decoder else {"labels": torch.tensor([0, 1, 0])}
    batch = Batch(inputs=BATCHES[0].inputs, labels=labels)
    queries_BLKD, values_BLKD = dim_gradients(supernet, [batch])
    query, *_ = head_rows(supernet.family, shape)
    projection, output = (
        supernet.layers[1].get_submodule(path) for path in (query.path, supernet.family.attention.output)
    )
    parameters = [*projection.parameters(), output.get_parameter("weight")]
    for parameter in parameters:
        parameter.requires_grad_()
    loss_of(supernet, batch).backward()
    products = [(parameter * parameter.grad).detach() for parameter in parameters if parameter.grad is not None]
    if isinstance(projection, Conv1D):
        products = [product.t() for product in products]
    rows, columns = products[0].sum(dim=1), products[-1].sum(dim=0)
    if len(products) == 3:
        rows = rows + products[1]
    heads = [group * shape.heads_per_group + head for head in range(shape.heads_per_group)]
    expected_query = sum(rows[int(query.rows(head, np.array([dim]))[0])] for head in heads)
    expected_value = sum(columns[head * shape.head_dim + dim] for head in heads)
    assert queries_BLKD[0, 1, group, dim] == pytest.approx(float(expected_query), rel=1e-4, abs=1e-7)
    assert values_BLKD[0, 1, group, dim] == pytest.approx(float(expected_value), rel=1e-4, abs=1e-7)


def test_first_order_scores_are_sums_over_batches(llama: Supernet) -> None:
    queries_BLKD, values_BLKD = dim_gradients(llama, BATCHES)
    np.testing.assert_allclose(taylor_dims(llama, BATCHES).values_LKD, abs(values_BLKD[0] + values_BLKD[1]))
    squares = queries_BLKD[0] ** 2 + queries_BLKD[1] ** 2
    np.testing.assert_allclose(fisher_dims(llama, BATCHES).queries_LKU, (squares[..., :2] + squares[..., 2:]) / 2)


def test_a_ranking_of_dimensions_puts_the_best_first(llama: Supernet) -> None:
    dims = magnitude_dims(llama, [])
    ranking = rank(importance_scores("magnitude", llama, []), llama.shape, dims)
    assert ranking.values_LKD is not None
    assert ranking.queries_LKU is not None
    assert ranking.values_LKD[LAYER, GROUP, 0] == dims.values_LKD[LAYER, GROUP].argmax()
    assert ranking.queries_LKU[LAYER, GROUP, -1] == dims.queries_LKU[LAYER, GROUP].argmin()


def test_scores_must_be_finite() -> None:
    with pytest.raises(ImportanceError, match="finite, got NaN or infinity in values_LKD"):
        DimScores(queries_LKU=np.ones((1, 1, 2)), values_LKD=np.full((1, 1, 2), np.nan))
