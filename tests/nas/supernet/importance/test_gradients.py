"""What loss the gradients are of; the gradients themselves are checked with the Fisher importance."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from evaluators.base import EvaluationError
from evaluators.inputs import Batch
from nas.supernet.importance import ImportanceError
from nas.supernet.importance.gradients import MaskGradients, loss_of, mask_gradients
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids


def bert() -> Supernet:
    return Supernet(tiny_model("bert"))


def by_transformers(supernet: Supernet, batch: Batch) -> torch.Tensor:
    """Gradient with respect to a scale on the last layer's neurons: W ∘ dL/dW of the output matrix."""
    model: Any = copy.deepcopy(supernet.model)
    model.requires_grad_(True)
    model(**batch.inputs, **batch.labels).loss.backward()
    weight = model.base_model.encoder.layer[-1].output.dense.weight
    return (weight * weight.grad).sum(dim=0).detach()


@pytest.mark.parametrize("auto_class", [None, AutoModelForQuestionAnswering, AutoModelForTokenClassification])
def test_labels_give_the_loss_of_the_task_head(auto_class: Any) -> None:
    if auto_class is None:
        supernet, labels = bert(), {"labels": torch.tensor([0, 1, 1])}
    else:
        torch.manual_seed(0)
        supernet = Supernet(auto_class.from_config(TINY_MODELS["bert"][1]()))
        span = {"start_positions": torch.tensor([1, 2, 0]), "end_positions": torch.tensor([4, 2, 0])}
        tags = {"labels": torch.randint(0, 2, (3, 12)).index_fill(1, torch.tensor([0, 5]), -100)}
        labels = span if auto_class is AutoModelForQuestionAnswering else tags
    batch = Batch(inputs={"input_ids": token_ids()}, labels=labels)
    found = mask_gradients(supernet, [batch]).neurons_BLN[0, -1]
    np.testing.assert_allclose(found, by_transformers(supernet, batch).numpy(), rtol=1e-3, atol=1e-6)


def test_a_decoder_that_classifies_has_the_loss_of_its_head() -> None:
    """With labels; without them, the loss of its own predictions, as an encoder has."""
    torch.manual_seed(0)
    config = TINY_MODELS["llama"][1]()
    config.pad_token_id = 0
    supernet = Supernet(AutoModelForSequenceClassification.from_config(config))
    assert supernet.family.is_decoder
    assert not supernet.predicts_tokens
    batch = Batch(inputs={"input_ids": token_ids()}, labels={"labels": torch.tensor([0, 1, 1])})
    outputs = supernet.model(**batch.inputs, **batch.labels)
    torch.testing.assert_close(loss_of(supernet, batch), outputs.loss)
    own = torch.nn.functional.cross_entropy(outputs.logits, (outputs.logits / 2).softmax(dim=-1))
    torch.testing.assert_close(loss_of(supernet, batch.unlabelled), own)
    assert np.abs(mask_gradients(supernet, [batch.unlabelled]).neurons_BLN).sum() > 0


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_padding_changes_nothing(name: str) -> None:
    supernet, ids_BT = Supernet(tiny_model(name)), token_ids()
    padded = torch.cat([ids_BT, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    mask = torch.cat([torch.ones(3, 12), torch.zeros(3, 4)], dim=1).long()
    plain = mask_gradients(supernet, batches_of(ids_BT))
    with_padding = mask_gradients(supernet, [Batch(inputs={"input_ids": padded, "attention_mask": mask})])
    for array in ("heads_BLH", "neurons_BLN", "attention_BL", "mlp_BL"):
        np.testing.assert_allclose(getattr(with_padding, array), getattr(plain, array), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("auto_class", [AutoModelForQuestionAnswering, AutoModelForTokenClassification])
def test_padding_changes_nothing_for_other_heads(auto_class: Any) -> None:
    torch.manual_seed(0)
    supernet, ids_BT = Supernet(auto_class.from_config(TINY_MODELS["bert"][1]())), token_ids()
    mask_BT = torch.cat([torch.ones(3, 12), torch.zeros(3, 24)], dim=1).long()
    inputs = {"input_ids": torch.cat([ids_BT, torch.zeros(3, 24, dtype=torch.long)], dim=1), "attention_mask": mask_BT}
    plain, padded = mask_gradients(supernet, batches_of(ids_BT)), mask_gradients(supernet, [Batch(inputs=inputs)])
    np.testing.assert_allclose(padded.neurons_BLN, plain.neurons_BLN, rtol=1e-2, atol=1e-6)


def test_a_row_of_padding_alone_is_refused() -> None:
    mask = torch.tensor([[1, 1], [0, 0]])
    with pytest.raises(EvaluationError, match="at least one token, got a row that is padding alone; leave empty texts"):
        Batch(inputs={"input_ids": torch.ones(2, 2, dtype=torch.long), "attention_mask": mask})


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_label_out_of_range(label: int) -> None:
    batch = Batch(inputs={"input_ids": token_ids()}, labels={"labels": torch.tensor([0, label, 1])})
    with pytest.raises(ImportanceError, match=rf"between 0 and 1, since the model has 2 classes, got {label}; use a"):
        mask_gradients(bert(), [batch])


def test_group_gradients_are_sums_over_heads() -> None:
    supernet = Supernet(tiny_model("llama"))
    gradients = mask_gradients(supernet, batches_of(token_ids(), token_ids(2, seed=4)))
    assert gradients.heads_BLH.shape == (2, supernet.shape.num_layers, supernet.shape.num_heads)
    np.testing.assert_allclose(
        gradients.groups_BLK(supernet.shape)[1, 2], gradients.heads_BLH[1, 2].reshape(-1, 2).sum(axis=1)
    )


def test_gradients_that_are_no_numbers() -> None:
    zeros = np.zeros((1, 1, 1))
    with pytest.raises(ImportanceError, match="must be finite, got NaN or infinity in neurons_BLN; load the model"):
        MaskGradients(heads_BLH=zeros, neurons_BLN=zeros * np.nan, attention_BL=zeros[0], mlp_BL=zeros[0])


def test_one_batch_alone_cannot_outweigh_the_others() -> None:
    rng = np.random.default_rng(0)
    heads_BLH, neurons_BLN = rng.normal(size=(7, 2, 4)), rng.normal(size=(7, 2, 9))
    sublayers_BL = rng.normal(size=(7, 2))
    sizes_B = np.array([0.0, 0.5, 1, 1, 1, 2, 1000])[:, None]

    def gradients(factors_B: np.ndarray) -> MaskGradients:
        return MaskGradients(
            heads_BLH=heads_BLH * factors_B[..., None],
            neurons_BLN=neurons_BLN * factors_B[..., None],
            attention_BL=sublayers_BL * factors_B,
            mlp_BL=-sublayers_BL * factors_B,
        )

    plain, clipped = gradients(sizes_B), gradients(sizes_B).clipped()
    lengths_B = np.sqrt((clipped.heads_BLH**2).sum(axis=(1, 2)) + (clipped.neurons_BLN**2).sum(axis=(1, 2)))
    longest = np.median(np.sqrt((plain.heads_BLH**2).sum(axis=(1, 2)) + (plain.neurons_BLN**2).sum(axis=(1, 2))))
    assert lengths_B.max() == pytest.approx(longest)
    assert lengths_B[0] == 0
    for name in ("heads_BLH", "neurons_BLN", "attention_BL", "mlp_BL"):
        before, after = getattr(plain, name), getattr(clipped, name)
        assert np.isfinite(after).all()
        np.testing.assert_array_equal(after[1], before[1])  # shorter than the median: as it was
        np.testing.assert_allclose(after[6] * (before[6] / after[6]).mean(), before[6])  # the direction stays


def test_all_gradients_zero_stay_so() -> None:
    zeros = np.zeros((3, 2, 4))
    gradients = MaskGradients(heads_BLH=zeros, neurons_BLN=zeros, attention_BL=zeros[..., 0], mlp_BL=zeros[..., 0])
    assert not gradients.clipped().neurons_BLN.any()
