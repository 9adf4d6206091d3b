"""Gradients through activation are those of the masked full model, in every family."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from evaluators.inputs import Batch
from nas.supernet.masking import masked
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import DistillationConfig
from nas.supernet_training.losses import divergence, predict, teacher_of
from nas.supernet_training.original import Original
from nas.supernet_training.sandwich import sandwich_gradients
from tests.nas.supernet.test_supernet import candidates
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids
from tests.nas.supernet_training.prefixes import prefixes


def trainable(name: str) -> tuple[Supernet, Batch]:
    supernet = Supernet(tiny_model(name).double())
    supernet.model.requires_grad_(True)
    labels = {} if supernet.family.is_decoder else {"labels": torch.tensor([0, 1, 1])}
    return supernet, Batch(inputs={"input_ids": token_ids()}, labels=labels)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(one) if one.grad is None else one.grad.clone() for name, one in model.named_parameters()
    }


@pytest.mark.parametrize("name", TINY_MODELS)
@pytest.mark.parametrize(("kind", "is_original"), [("none", False), ("forward_kl", False), ("forward_kl", True)])
def test_gradients_are_those_of_the_masked_model(name: str, kind: str, is_original: bool) -> None:
    supernet, batch = trainable(name)
    _, *sub_networks = candidates(supernet.shape)  # heads of some groups, masks that are no prefix
    distillation = DistillationConfig.model_validate({"type": kind, "temperature": 1.0 if kind == "none" else 2.0})
    original = Original(supernet, distillation, None) if is_original else None
    taught = predict(supernet.model, batch, predicts_tokens=supernet.predicts_tokens).logits_NV
    with torch.no_grad():
        for parameter in supernet.model.parameters():  # it has moved on since its copy was taken
            parameter *= 1.25
    losses = sandwich_gradients(
        supernet,
        batch,
        sub_networks,
        distillation,
        original=original,
        backward=lambda loss: loss.backward(),
        autocast=nullcontext,
    )
    found = gradients(supernet.model)
    supernet.model.zero_grad()
    largest = predict(supernet.model, batch, predicts_tokens=supernet.predicts_tokens)
    teacher = teacher_of(taught if is_original else largest.logits_NV, distillation)
    expected = [divergence(largest.logits_NV, teacher, distillation) if is_original else largest.loss()]
    for sub_network in sub_networks:
        with masked(supernet, sub_network) as model:
            student = predict(model, batch, predicts_tokens=supernet.predicts_tokens)  # type: ignore[arg-type]
        expected.append(student.loss() if kind == "none" else divergence(student.logits_NV, teacher, distillation))
    torch.stack(expected).mean().backward()
    torch.testing.assert_close(losses.double(), torch.stack(expected).detach().double(), rtol=1e-5, atol=1e-6)
    for path, gradient in gradients(supernet.model).items():
        torch.testing.assert_close(found[path], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, path=path: path + text)


def test_a_step_moves_a_sub_network_as_it_would_move_alone() -> None:
    """SGD on the views equals SGD on the extracted model, weight by weight."""
    supernet, batch = trainable("llama")
    sub_network = prefixes(supernet.shape)[2]
    alone = supernet.extract(sub_network).requires_grad_(True)
    with supernet.activate(sub_network) as model:
        predict(model, batch, predicts_tokens=True).loss().backward()
    predict(alone, batch, predicts_tokens=True).loss().backward()
    with torch.no_grad():
        for parameter in [*supernet.model.parameters(), *alone.parameters()]:
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    for moved, expected in zip(supernet.extract(sub_network).parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(moved.detach(), expected.detach())


def test_parameters_are_back_in_place_and_order() -> None:
    supernet, batch = trainable("gpt2")
    before = [(name, id(one)) for name, one in supernet.model.named_parameters()]
    for sub_network in prefixes(supernet.shape):
        with supernet.activate(sub_network) as model:
            predict(model, batch, predicts_tokens=True).loss().backward()
    assert [(name, id(one)) for name, one in supernet.model.named_parameters()] == before


def test_no_gradients_are_kept_while_they_are_switched_off() -> None:
    supernet, batch = trainable("llama")
    with torch.no_grad(), supernet.activate(prefixes(supernet.shape)[2]) as model:
        attention = model.get_submodule("model.layers.0.self_attn.q_proj").get_parameter("weight")
        assert not attention.requires_grad
        predict(model, batch, predicts_tokens=True)
    assert all(one.grad is None for one in supernet.model.parameters())
