"""A mask scales its unit's columns of the output projection, so dL/dm = Σ W ∘ dL/dW over them: a second path."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel
from transformers.pytorch_utils import Conv1D

from nas.supernet.families import Sublayer
from nas.supernet.importance import ImportanceError, UnitScores, importance_scores
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

BATCHES = [token_ids(3), token_ids(2, seed=2)]


def loss_of(model: nn.Module, ids_BT: Tensor, *, is_decoder: bool) -> Tensor:
    logits: Tensor = model(input_ids=ids_BT).logits
    if is_decoder:
        log_probabilities_BTV = logits[:, :-1].log_softmax(dim=-1)
        return -log_probabilities_BTV.gather(2, ids_BT[:, 1:, None]).mean()
    own = torch.softmax(logits.detach() / 2, dim=-1)
    return -(own * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def columns_and_gradients(layer: nn.Module, sublayer: Sublayer) -> tuple[Tensor, float]:
    """Σ W ∘ dW by input feature of the output projection, and the same for all that the sublayer adds."""
    projection = layer.get_submodule(sublayer.output)
    weight = projection.get_parameter("weight")
    assert weight.grad is not None
    by_feature = (weight * weight.grad).sum(dim=1 if isinstance(projection, Conv1D) else 0).detach()
    added: Any = layer.get_submodule(sublayer.addition)
    if added is not projection:  # Gemma's norm multiplies by 1 + weight
        return by_feature, float(((1 + added.weight) * added.weight.grad).detach().sum())
    bias = projection._parameters.get("bias")
    whole = float(by_feature.sum()) + (0.0 if bias is None else float((bias * bias.grad).detach().sum()))
    return by_feature, whole


def by_weight_gradients(model: nn.Module, supernet: Supernet) -> UnitScores:
    shape, family = supernet.shape, supernet.family
    heads_BLH = np.zeros((len(BATCHES), shape.num_layers, shape.num_heads))
    neurons_BLN = np.zeros((len(BATCHES), shape.num_layers, shape.num_neurons))
    sublayers_B2L = np.zeros((len(BATCHES), 2, shape.num_layers))
    layers = Supernet(model).layers  # type: ignore[arg-type]
    model.requires_grad_(True)
    for batch, ids_BT in enumerate(BATCHES):
        model.zero_grad()
        loss_of(model, ids_BT, is_decoder=family.is_decoder).backward()
        for number, layer in enumerate(layers):
            heads_F, attention = columns_and_gradients(layer, family.attention)
            neurons_N, mlp = columns_and_gradients(layer, family.mlp)
            heads_BLH[batch, number] = heads_F.reshape(shape.num_heads, -1).sum(dim=1).double().numpy()
            neurons_BLN[batch, number] = neurons_N.double().numpy()
            sublayers_B2L[batch, :, number] = attention, mlp
    lengths = [np.sqrt(np.square(h).sum() + np.square(n).sum()) for h, n in zip(heads_BLH, neurons_BLN, strict=True)]
    weights_B = np.array([min(1.0, np.median(lengths) / length) ** 2 for length in lengths])
    attention_L, mlp_L = np.einsum("b,bsl->sl", weights_B, sublayers_B2L**2)
    return UnitScores(
        heads_LH=np.einsum("b,blh->lh", weights_B, heads_BLH**2),
        neurons_LN=np.einsum("b,bln->ln", weights_B, neurons_BLN**2),
        attention_L=attention_L,
        mlp_L=mlp_L,
    )


@pytest.mark.parametrize("name", TINY_MODELS)
def test_squared_gradients_of_the_masks_with_long_ones_cut_to_the_median(name: str) -> None:
    model = tiny_model(name)
    supernet = Supernet(copy.deepcopy(model))
    found = importance_scores("fisher", supernet, batches_of(*BATCHES))
    expected = by_weight_gradients(model, supernet)
    for array in ("heads_LH", "neurons_LN", "attention_L", "mlp_L"):
        scale = getattr(expected, array).max()
        np.testing.assert_allclose(getattr(found, array), getattr(expected, array), rtol=2e-2, atol=1e-4 * scale)


def test_finite_difference() -> None:
    """One head and one neuron of Llama, scaled by hand."""
    supernet = Supernet(tiny_model("llama").double())
    scores = importance_scores("fisher", supernet, batches_of(*BATCHES[:1]))
    layer: Any = supernet.layers[1]
    for columns, score in (
        (layer.self_attn.o_proj.weight[:, 8:12], scores.heads_LH[1, 2]),
        (layer.mlp.down_proj.weight[:, 7:8], scores.neurons_LN[1, 7]),
    ):
        kept = columns.clone()
        losses = []
        for factor in (0.98, 1.02):
            columns.copy_(kept * factor)
            losses.append(float(loss_of(supernet.model, BATCHES[0], is_decoder=True)))
        columns.copy_(kept)
        assert score == pytest.approx(((losses[1] - losses[0]) / 0.04) ** 2, rel=1e-2)


def test_encoder_without_a_head() -> None:
    _, make_config = TINY_MODELS["bert"]
    with pytest.raises(ImportanceError, match="need a model with a task head, got BertModel; load a fine-tuned model"):
        importance_scores("fisher", Supernet(BertModel(make_config())), batches_of(*BATCHES))


def test_language_model_loss_is_that_of_transformers() -> None:
    """The loss of the second path, against a third."""
    model = tiny_model("llama")
    with torch.no_grad():
        expected = model(input_ids=BATCHES[0], labels=BATCHES[0]).loss
        torch.testing.assert_close(loss_of(model, BATCHES[0], is_decoder=True), expected)


def test_temperature_keeps_the_gradient_of_an_encoder_alive() -> None:
    """Against its own predictions at temperature 1 the gradient with respect to the logits is exactly zero."""
    logits = torch.tensor([[2.0, -1.0]], requires_grad=True)
    for temperature, alive in ((1.0, False), (2.0, True)):
        targets = functional.softmax(logits.detach() / temperature, dim=-1)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, targets), logits)
        assert bool(gradient.abs().max() > 1e-6) is alive
