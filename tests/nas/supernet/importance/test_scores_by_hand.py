"""Wanda, FLAP and Taylor on one layer of a tiny Llama, against formulas written out; Gram matrices and energies."""

from typing import Any

import numpy as np
import pytest
import torch

from evaluators.inputs import Batch
from nas.supernet.importance import importance_scores
from nas.supernet.importance.gradients import mask_gradients
from nas.supernet.importance.gram import gram_matrices, stream_energies
from nas.supernet.importance.recording import feature_statistics
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

BATCHES = batches_of(token_ids(3), token_ids(2, seed=2))
LAYER = 2


@pytest.fixture(scope="module")
def llama() -> Supernet:
    return Supernet(tiny_model("llama"))


def features(supernet: Supernet, path: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``(num_tokens, num_features)`` that enter a projection."""
    seen: list[torch.Tensor] = []
    module = supernet.layers[LAYER].get_submodule(path)
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    with torch.no_grad():
        for batch in BATCHES:
            supernet.model(**batch.inputs)
    handle.remove()
    return torch.cat(seen).double().numpy()


def weight(supernet: Supernet, path: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return supernet.layers[LAYER].get_submodule(path).get_parameter("weight").double().numpy()


def test_wanda(llama: Supernet) -> None:
    scores = importance_scores("wanda", llama, BATCHES)
    x_TN = features(llama, "mlp.down_proj")
    expected = np.abs(weight(llama, "mlp.down_proj")).sum(axis=0) * np.sqrt((x_TN**2).mean(axis=0))
    np.testing.assert_allclose(scores.neurons_LN[LAYER], expected, rtol=1e-5)


def test_flap_up_to_its_shift(llama: Supernet) -> None:
    scores = importance_scores("flap", llama, BATCHES)
    x_TN = features(llama, "mlp.down_proj")
    raw = x_TN.var(axis=0) * (weight(llama, "mlp.down_proj") ** 2).sum(axis=0)
    expected = (raw - raw.mean()) / raw.std()
    shift = scores.neurons_LN[LAYER, 0] - expected[0]
    np.testing.assert_allclose(scores.neurons_LN[LAYER], expected + shift, rtol=1e-4)
    x_TF = features(llama, "self_attn.o_proj")
    raw_F = x_TF.var(axis=0) * (weight(llama, "self_attn.o_proj") ** 2).sum(axis=0)
    raw_H = raw_F.reshape(llama.shape.num_heads, -1).mean(axis=1)
    np.testing.assert_allclose(
        scores.heads_LH[LAYER], (raw_H - raw_H.mean()) / raw_H.std() + shift, rtol=1e-4, atol=1e-9
    )
    assert min(scores.heads_LH.min(), scores.neurons_LN.min()) == 0


def test_flap_of_constant_activations_is_all_alike() -> None:
    supernet = Supernet(tiny_model("llama"))
    with torch.no_grad():
        supernet.layers[LAYER].get_submodule("mlp.up_proj").get_parameter("weight").zero_()
    scores = importance_scores("flap", supernet, BATCHES).neurons_LN[LAYER]
    assert np.isfinite(scores).all()
    assert (scores == scores[0]).all()


def test_taylor_is_the_size_of_the_summed_gradient(llama: Supernet) -> None:
    gradients = mask_gradients(llama, BATCHES)
    scores = importance_scores("taylor", llama, BATCHES)
    np.testing.assert_allclose(scores.heads_LH, np.abs(gradients.heads_BLH[0] + gradients.heads_BLH[1]))
    np.testing.assert_allclose(scores.mlp_L, np.abs(gradients.mlp_BL.sum(axis=0)))


def test_gradient_methods_score_a_group_as_one_unit(llama: Supernet) -> None:
    """Its mask multiplies all its heads: their gradients add before they are made positive."""
    gradients = mask_gradients(llama, BATCHES)
    groups_BLK = gradients.heads_BLH.reshape(2, llama.shape.num_layers, llama.shape.num_kv_groups, -1).sum(axis=3)
    taylor_LK = importance_scores("taylor", llama, BATCHES).kv_groups_LK(llama.shape)
    np.testing.assert_allclose(taylor_LK, np.abs(groups_BLK.sum(axis=0)))
    fisher_LK = importance_scores("fisher", llama, BATCHES).kv_groups_LK(llama.shape)
    np.testing.assert_allclose(fisher_LK, (gradients.clipped().groups_BLK(llama.shape) ** 2).sum(axis=0))


def test_gram_matrices(llama: Supernet) -> None:
    for sublayer, path in ((llama.family.attention, "self_attn.o_proj"), (llama.family.mlp, "mlp.down_proj")):
        x_TF = features(llama, path)
        for max_bytes in (2**30, 1):  # at once, or a layer at a time
            grams = list(gram_matrices(llama, sublayer, BATCHES, max_bytes=max_bytes))
            assert len(grams) == llama.shape.num_layers
            np.testing.assert_allclose(grams[LAYER].numpy(), x_TF.T @ x_TF, rtol=1e-4, atol=1e-6)


def test_stream_energies(llama: Supernet) -> None:
    with torch.no_grad():
        hidden = [llama.model(**batch.inputs, output_hidden_states=True).hidden_states[LAYER + 1] for batch in BATCHES]
    expected = sum(float(one.double().square().sum()) for one in hidden)
    assert stream_energies(llama, BATCHES)[LAYER] == pytest.approx(expected, rel=1e-5)


def test_padding_is_no_part_of_the_statistics(llama: Supernet) -> None:
    ids_BT = token_ids(3)
    padded = Batch(
        inputs={
            "input_ids": torch.cat([ids_BT, torch.zeros(3, 5, dtype=torch.long)], dim=1),
            "attention_mask": torch.cat([torch.ones(3, 12), torch.zeros(3, 5)], dim=1).long(),
        }
    )
    plain = feature_statistics(llama, llama.family.mlp, batches_of(ids_BT))
    with_padding = feature_statistics(llama, llama.family.mlp, [padded])
    np.testing.assert_allclose(with_padding.mean_absolute_LF, plain.mean_absolute_LF, rtol=1e-4)
    np.testing.assert_allclose(with_padding.variance_LF, plain.variance_LF, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(stream_energies(llama, [padded]), stream_energies(llama, batches_of(ids_BT)), rtol=1e-4)
