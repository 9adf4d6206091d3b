"""Training while pruning: what comes out fits and computes; cut out or gated, cut short or not, it is the same."""

from typing import Any

import numpy as np
import pytest
import torch

from nas.grain import GrainConfig, GrainError, GrainStep, grain
from nas.grain.distillation import hidden_sizes
from nas.grain.training import _Run
from nas.pruners.costs import parameter_costs
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from tests.nas.supernet.test_supernet import logits_of, random_ranking
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids

BATCHES = batches_of(*(token_ids(4, seed=seed) for seed in range(5)))


def settings(**changes: Any) -> GrainConfig:
    return GrainConfig(**{"density": 0.3, "num_steps": 12, "learning_rate": 1e-3, "smoothing": 0.5, **changes})


def small_weights(name: str) -> Supernet:
    """Smaller than usual in tests: large random weights saturate, and nothing can be learnt."""
    model = tiny_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    return Supernet(model)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt_neox", "qwen3", "phi3"])
@pytest.mark.parametrize("units", ["dims", "heads"])
def test_a_sub_network_of_the_density_with_weights_that_fit(name: str, units: Any) -> None:
    supernet, ids, steps = small_weights(name), token_ids(), list[GrainStep]()
    before = logits_of(supernet.model, ids)
    sub_network, weights = grain(supernet, BATCHES, settings(units=units), on_step=steps.append)
    assert torch.equal(logits_of(supernet.model, ids), before)
    densities = [step.density for step in steps]
    assert densities == sorted(densities, reverse=True)
    assert densities[0] == 1
    assert densities[-1] <= 0.3
    assert sub_network.cuts_heads == (units == "dims")
    assert parameter_costs(supernet).of(sub_network) == sum(one.numel() for one in weights.parameters.values())
    with supernet.activate(sub_network, weights) as model:
        active = logits_of(model, ids)
    torch.testing.assert_close(active, logits_of(supernet.extract(sub_network, weights), ids))


def test_a_model_that_projects_its_last_hidden_state() -> None:
    """As OPT-350m does, whose embedding is narrower than its layers."""
    model_class, make_config = TINY_MODELS["opt"]
    config = make_config()
    config.word_embed_proj_dim = 16
    torch.manual_seed(0)
    supernet = Supernet(model_class(config))
    assert hidden_sizes(supernet.model) == [32, 32, 32, 32, 16]
    sub_network, _ = grain(supernet, BATCHES, settings())
    assert sum(sub_network.num_neurons) < supernet.shape.num_layers * supernet.shape.num_neurons


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    """Through the step in which what is left is cut out, and AdamW's state with it."""
    supernet = small_weights("llama")
    supernet.model.cuda()
    sub_network, weights = grain(supernet, BATCHES, settings())
    with supernet.activate(sub_network, weights) as model:
        assert logits_of(model, token_ids().cuda()).isfinite().all()


def test_training_brings_the_student_nearer_to_its_teacher() -> None:
    supernet = small_weights("llama")
    ids = torch.cat([batch.inputs["input_ids"] for batch in BATCHES])
    teacher = logits_of(supernet.model, ids)
    sub_network, weights = grain(supernet, BATCHES, settings(num_steps=60, learning_rate=3e-3))
    with supernet.activate(sub_network) as model:
        untrained = (logits_of(model, ids) - teacher).square().mean()
    with supernet.activate(sub_network, weights) as model:
        trained = (logits_of(model, ids) - teacher).square().mean()
    assert trained < 0.5 * untrained


def test_dropout_is_left_out_on_demand() -> None:
    supernet = small_weights("gpt2")
    _, with_dropout = grain(supernet, BATCHES, settings())
    _, without = grain(supernet, BATCHES, settings(dropout=False))
    for module in supernet.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    _, expected = grain(supernet, BATCHES, settings())
    for key, parameter in expected.parameters.items():
        torch.testing.assert_close(without.parameters[key], parameter)
    assert any(not torch.equal(with_dropout.parameters[key], one) for key, one in expected.parameters.items())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_extracted_model_trains_on_as_the_gated_one_would(name: str) -> None:
    supernet = small_weights(name)
    config = settings(num_steps=30, prune_from=0.1, prune_until=0.2, dropout=False)
    models = []
    for cut_out in (True, False):
        torch.manual_seed(0)
        run = _Run(supernet, config)
        with torch.enable_grad():
            for number in range(10):
                if not cut_out:
                    run._cut_out = lambda student: None  # type: ignore[method-assign]
                run.advance(BATCHES[number % 5])
        assert (run._student is None) == cut_out
        models.append(run.result())
    (one, weights), (other, expected) = models
    assert one == other
    for key, parameter in weights.parameters.items():
        torch.testing.assert_close(parameter, expected.parameters[key], rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    supernet = small_weights("bert")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    (_, one), (_, other) = grain(supernet, BATCHES, settings()), grain(supernet, BATCHES, settings())
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(weight, other.parameters[key]) for key, weight in one.parameters.items())


def test_losses_that_are_not_finite_are_skipped_and_then_too_many() -> None:
    supernet = small_weights("qwen2")
    with torch.no_grad():
        supernet.model.get_input_embeddings().weight[5] = float("nan")
    clean, spoilt = batches_of(torch.full((2, 6), 3)), batches_of(torch.full((2, 6), 5))
    steps: list[GrainStep] = []
    _, weights = grain(supernet, clean * 3 + spoilt, settings(), on_step=steps.append)
    assert steps[-1].num_skipped == 3
    finite = {key: one for key, one in weights.parameters.items() if "embed" not in key and "head" not in key}
    assert all(bool(one.isfinite().all()) for one in finite.values())
    with pytest.raises(
        GrainError,
        match=r"must be finite, but for 4 steps in a row, up to step 4, they .*; lower",
    ):
        grain(supernet, spoilt, settings(max_bad_steps=4))


def test_a_supernet_that_was_ranked_and_one_without_examples() -> None:
    supernet = small_weights("llama")
    with pytest.raises(GrainError, match="at least one batch of training examples, got none"):
        grain(supernet, [], settings())
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(0)))
    with pytest.raises(GrainError, match="in their original order, got one that was ranked; load it anew"):
        grain(supernet, BATCHES, settings())


def test_a_density_below_what_must_stay_is_refused_before_training() -> None:
    steps: list[GrainStep] = []
    with pytest.raises(GrainError, match="density must leave room"):
        grain(small_weights("llama"), BATCHES, settings(density=1e-4), on_step=steps.append)
    assert not steps


def test_bfloat16_products() -> None:
    supernet = small_weights("bert")
    _, weights = grain(supernet, BATCHES, settings(bfloat16=True))
    assert isinstance(weights, OwnWeights)
    assert {one.dtype for one in weights.parameters.values()} == {torch.float32}
