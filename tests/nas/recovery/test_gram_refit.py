"""Against a least-squares solver on the features themselves, and against the sweep where the two must agree."""

import numpy as np
import pytest
import torch

from nas.recovery import RecoveryError
from nas.recovery.gram_refit import GramRefit
from nas.supernet.importance import importance_scores, rank
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

BATCHES = batches_of(token_ids(24), token_ids(24, seed=2))
LAYER = 1


def half_of_a_layer(supernet: Supernet) -> SubNetwork:
    full = SubNetwork.full(supernet.shape)
    heads_LH, neurons_LN = np.array(full.heads_LH), np.array(full.neurons_LN)
    heads_LH[LAYER, 2:4] = False
    neurons_LN[LAYER, ::2] = False
    return SubNetwork(shape=full.shape, heads_LH=heads_LH, neurons_LN=neurons_LN)


def features(supernet: Supernet, path: str) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = (
        supernet.layers[LAYER]
        .get_submodule(path)
        .register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    )
    with torch.no_grad():
        for batch in BATCHES:
            supernet.model(**batch.inputs)
    handle.remove()
    return torch.cat(seen).double()


@pytest.mark.parametrize("path", ["self_attn.o_proj", "mlp.down_proj"])
def test_least_squares_on_the_features(path: str) -> None:
    supernet = Supernet(tiny_model("llama").double())
    sub_network = half_of_a_layer(supernet)
    weights = GramRefit(supernet, BATCHES, damping=1e-7)(sub_network)
    x_TF = features(supernet, path)
    kept_U = (sub_network.neurons_LN[LAYER] if "mlp" in path else sub_network.heads_LH[LAYER].repeat(4)).copy()
    target_TD = x_TF @ supernet.layers[LAYER].get_submodule(path).get_parameter("weight").double().T
    expected = np.linalg.lstsq(x_TF[:, kept_U].numpy(), target_TD.numpy(), rcond=None)[0].T
    found = (weights.mlp if "mlp" in path else weights.attention)[LAYER]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-2 * np.abs(expected).max())
    residual = float((x_TF[:, kept_U] @ found.T - target_TD).norm())
    best = float(np.linalg.norm(x_TF[:, kept_U].numpy() @ expected.T - target_TD.numpy()))
    assert residual == pytest.approx(best, rel=1e-3)


def test_only_what_lost_units_gets_weights() -> None:
    supernet = Supernet(tiny_model("bert"))
    weights = GramRefit(supernet, BATCHES)(half_of_a_layer(supernet))
    assert (set(weights.attention), set(weights.mlp)) == ({LAYER}, {LAYER})


def test_the_order_of_the_units_does_not_matter() -> None:
    """Gathered before or after the weights were permuted, and used in either order."""
    plain = Supernet(tiny_model("gpt2").double())
    sub_network = half_of_a_layer(plain)
    expected = GramRefit(plain, BATCHES)(sub_network)
    ranking = rank(importance_scores("magnitude", plain, []), plain.shape)
    ranked = Supernet(tiny_model("gpt2").double())
    before = GramRefit(ranked, BATCHES)
    ranked.order_by(ranking)
    for recover in (before, GramRefit(ranked, BATCHES)):
        found = recover(sub_network)
        torch.testing.assert_close(found.attention[LAYER], expected.attention[LAYER], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.mlp[LAYER], expected.mlp[LAYER], rtol=1e-3, atol=1e-4)


def test_without_examples() -> None:
    with pytest.raises(RecoveryError, match="at least one batch of calibration examples, got none"):
        GramRefit(Supernet(tiny_model("llama")), [])
