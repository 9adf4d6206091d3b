"""Sub-networks with weights of their own: activated and extracted they compute what the trained model does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from nas.supernet.own_weights import OwnWeights, OwnWeightsError
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.test_supernet import assert_equal_logits, candidates, logits_of, random_ranking
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)


def trained(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """The model with every parameter moved, as training would."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.1)
    return model


@families
def test_the_supernet_computes_what_the_trained_model_does_however_it_is_ordered(name: str) -> None:
    supernet, ids, rng = Supernet(tiny_model(name)), token_ids(), np.random.default_rng(5)
    cases = []
    for number, sub_network in enumerate(candidates(supernet.shape)):
        model = trained(supernet.extract(sub_network), number)
        cases.append((sub_network, OwnWeights.of(model), logits_of(model, ids)))
    before = logits_of(supernet.model, ids)
    for sub_network, weights, expected in cases:
        with supernet.activate(sub_network, weights) as model:
            assert_equal_logits(logits_of(model, ids), expected)
            with supernet.activate(SubNetwork.full(supernet.shape)):
                assert torch.equal(logits_of(supernet.model, ids), before)
            assert_equal_logits(logits_of(model, ids), expected)
        assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), expected)
        assert torch.equal(logits_of(supernet.model, ids), before)
    supernet.order_by(random_ranking(supernet.shape, rng))
    for sub_network, weights, expected in cases:
        with supernet.activate(sub_network, weights) as model:
            assert_equal_logits(logits_of(model, ids), expected)
        assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), expected)


@families
def test_parameters_stay_tied_and_so_are_counted_and_named_once(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    sub_network = candidates(supernet.shape)[-1]
    model = trained(supernet.extract(sub_network), 3)
    weights, names = OwnWeights.of(model), [name for name, _ in model.named_parameters()]
    with supernet.activate(sub_network, weights) as active:
        assert [name for name, _ in active.named_parameters()] == names
    again = OwnWeights.of(supernet.extract(sub_network, weights))
    assert list(again.parameters) == names
    assert all(torch.equal(again.parameters[name], one) for name, one in weights.parameters.items())


def test_weights_of_another_sub_network_are_refused_and_nothing_is_left_changed() -> None:
    supernet, ids = Supernet(tiny_model("phi3")), token_ids()
    before = logits_of(supernet.model, ids)
    *_, one, other = candidates(supernet.shape)
    weights = OwnWeights.of(supernet.extract(one))
    with (
        pytest.raises(OwnWeightsError, match="must be those of its extracted model, which has"),
        supernet.activate(other, weights),
    ):
        pass
    assert supernet.active.is_full
    assert torch.equal(logits_of(supernet.model, ids), before)


def test_files_hold_them(tmp_path: Path) -> None:
    weights = OwnWeights.of(tiny_model("llama"))
    weights.save(tmp_path / "weights.safetensors")
    read = OwnWeights.load(tmp_path / "weights.safetensors")
    assert read.parameters.keys() == weights.parameters.keys()
    assert all(torch.equal(read.parameters[name], one) for name, one in weights.parameters.items())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_a_file_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OwnWeightsError, match="must be a readable safetensors file"):
        OwnWeights.load(path)
