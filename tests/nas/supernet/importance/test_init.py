"""Every method on every family."""

import numpy as np
import pytest
import torch

from nas.supernet.importance import IMPORTANCES, ImportanceError, importance_scores, rank
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids


@pytest.mark.parametrize("method", IMPORTANCES)
@pytest.mark.parametrize("name", TINY_MODELS)
def test_scores_of_every_unit(name: str, method: str) -> None:
    supernet = Supernet(tiny_model(name))
    shape = supernet.shape
    with torch.no_grad():
        before = supernet.model(input_ids=token_ids()).logits
    scores = importance_scores(method, supernet, batches_of(token_ids(), token_ids(2, seed=5)))
    assert scores.heads_LH.shape == (shape.num_layers, shape.num_heads)
    assert scores.neurons_LN.shape == (shape.num_layers, shape.num_neurons)
    assert scores.attention_L.shape == scores.mlp_L.shape == (shape.num_layers,)
    for array in (scores.heads_LH, scores.neurons_LN, scores.attention_L, scores.mlp_L):
        assert array.dtype == np.float64
        assert (array >= 0).all()
        assert (array > 0).mean() > 0.4  # of OPT's neurons (ReLU) half are silent on so few tokens
    ranking = rank(scores, shape)
    widths = [np.full(shape.num_layers, n) for n in (shape.num_kv_groups, shape.heads_per_group, shape.num_neurons)]
    everything = ranking.keep_best(shape, kv_groups_L=widths[0], heads_per_group_L=widths[1], neurons_L=widths[2])
    assert everything == SubNetwork.full(shape)
    with torch.no_grad():  # no hook stays behind
        torch.testing.assert_close(supernet.model(input_ids=token_ids()).logits, before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in supernet.model.parameters())


@pytest.mark.parametrize("method", [name for name in IMPORTANCES if name != "magnitude"])
def test_model_that_computes_no_numbers(method: str) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ImportanceError, match="must be finite, got"):
        importance_scores(method, Supernet(model), batches_of(token_ids()))


def test_unknown_method() -> None:
    with pytest.raises(ImportanceError, match=r"must be one of magnitude, .*; got 'fischer'; did you mean 'fisher'"):
        importance_scores("fischer", Supernet(tiny_model("llama")), [])
