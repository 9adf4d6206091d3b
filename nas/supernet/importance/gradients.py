"""Gradients of the loss with respect to the mask of every unit, batch by batch.

    g_b = ∂ L_b / ∂ m   at m = 1

with L_b the mean loss of batch b, in eval mode and with weights frozen, as in arXiv:2204.09656. The loss is

- the task head's own where a batch has labels (classification, question answering, token classification);
- next-token cross-entropy for a causal language model;
- for an unlabelled encoder the cross-entropy against the model's own predictions at temperature 2; at temperature 1
  the gradient of a model against its own soft predictions would vanish.

Legend: B batches, L layers, H query heads, N neurons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from evaluators.inputs import IGNORED, PADDED_LOGIT, Batch
from nas.supernet.importance.base import ImportanceError, Scores
from nas.supernet.masking import UnitScales, scaled
from nas.supernet.prediction_divergence import ENDS
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskGradients:
    """One gradient a batch for each unit and each sublayer.

    Attributes:
        heads_BLH: ``(num_batches, num_layers, num_heads)`` float64.
        neurons_BLN: ``(num_batches, num_layers, num_neurons)`` float64.
        attention_BL: ``(num_batches, num_layers)`` float64: of the attention sublayer as a whole.
        mlp_BL: ``(num_batches, num_layers)`` float64.

    Raises:
        ImportanceError: A gradient is NaN or infinite.
    """

    heads_BLH: Scores
    neurons_BLN: Scores
    attention_BL: Scores
    mlp_BL: Scores

    def __post_init__(self) -> None:
        for name in ("heads_BLH", "neurons_BLN", "attention_BL", "mlp_BL"):
            if not np.isfinite(getattr(self, name)).all():
                raise ImportanceError(
                    f"Gradients must be finite, got NaN or infinity in {name}; load the model in float32 or bfloat16."
                )

    def groups_BLK(self, shape: SupernetShape) -> Scores:
        """``(num_batches, num_layers, num_kv_groups)``: a group's mask multiplies all its heads, so gradients add."""
        groups: Scores = self.heads_BLH.reshape(*self.heads_BLH.shape[:2], shape.num_kv_groups, -1).sum(axis=3)
        return groups

    def clipped(self) -> "MaskGradients":
        """The same with no batch's gradient longer than the median of them, over all heads and neurons.

        Squared gradients of a model that has learnt its examples are those of the few that it has not: of 64 batches
        of TREC one held half of the sum. Clipped, each has a say (docs/methods/fisher.md has what that changes).
        """
        norms_B = np.sqrt((self.heads_BLH**2).sum(axis=(1, 2)) + (self.neurons_BLN**2).sum(axis=(1, 2)))
        factors_B = np.minimum(1.0, np.median(norms_B) / np.where(norms_B > 0, norms_B, 1.0))
        return MaskGradients(
            heads_BLH=self.heads_BLH * factors_B[:, None, None],
            neurons_BLN=self.neurons_BLN * factors_B[:, None, None],
            attention_BL=self.attention_BL * factors_B[:, None],
            mlp_BL=self.mlp_BL * factors_B[:, None],
        )


def mask_gradients(supernet: Supernet, batches: Sequence[Batch]) -> MaskGradients:
    """Gradients in the model's own dtype and on its own device.

    Raises:
        ImportanceError: The model has no head that gives a loss, a label lies out of range, or a loss is NaN.
    """
    parameter = next(supernet.model.parameters())
    full = SubNetwork.full(supernet.shape)
    names = ("heads_LH", "neurons_LN", "attention_L", "mlp_L")
    rows: list[list[Tensor]] = []
    for batch in batches:
        ones = UnitScales.of(full, dtype=parameter.dtype, device=supernet.device)
        masks = [getattr(ones, name).requires_grad_() for name in names]
        with torch.enable_grad(), scaled(supernet, ones):
            loss = loss_of(supernet, batch.to(supernet.device))
            rows.append([gradient.double().cpu() for gradient in torch.autograd.grad(loss, masks)])
    heads, neurons, attention, mlp = (torch.stack(column).numpy() for column in zip(*rows, strict=True))
    return MaskGradients(heads_BLH=heads, neurons_BLN=neurons, attention_BL=attention, mlp_BL=mlp)


def loss_of(supernet: Supernet, batch: Batch) -> Tensor:
    """The loss of a batch as the module's first lines have it.

    Raises:
        ImportanceError: As ``mask_gradients`` raises it.
    """
    loss = _any_loss(supernet, batch)
    if not loss.isfinite():
        raise ImportanceError(
            f"The loss on the calibration examples must be finite, got {float(loss.detach())}; load the model "
            "in float32, or look for broken examples."
        )
    return loss


def _any_loss(supernet: Supernet, batch: Batch) -> Tensor:
    if batch.labels:
        return _labelled_loss(supernet, batch)
    outputs = supernet.model(**batch.inputs)
    if supernet.predicts_tokens:
        return _next_token_loss(_logits(supernet, outputs), batch)
    if ENDS[0] in outputs:
        ends = (outputs[name].float().masked_fill(~batch.tokens_BT, PADDED_LOGIT) for name in ENDS)
        return torch.stack([_self_loss(logits_BT) for logits_BT in ends]).mean()
    logits = _logits(supernet, outputs)
    # One prediction a token (token classification) or one an example; padding predicts nothing.
    return _self_loss(logits[batch.tokens_BT] if logits.dim() == 3 else logits)


def _labelled_loss(supernet: Supernet, batch: Batch) -> Tensor:
    num_classes = supernet.model.config.num_labels
    labels = batch.labels.get("labels")
    if labels is not None and not supernet.predicts_tokens:
        wrong = labels[(labels != IGNORED) & ((labels < 0) | (labels >= num_classes))]
        if wrong.numel():
            raise ImportanceError(
                f"A label must lie between 0 and {num_classes - 1}, since the model has {num_classes} classes, got "
                f"{int(wrong[0])}; use a model trained for these labels."
            )
    loss: Tensor | None = supernet.model(**batch.inputs, **batch.labels).loss
    if loss is None:
        raise _headless(supernet)
    return loss


def _next_token_loss(logits_BTV: Tensor, batch: Batch) -> Tensor:
    targets_BT = batch.inputs["input_ids"].masked_fill(~batch.tokens_BT, IGNORED)[:, 1:]
    return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED)


def _self_loss(logits: Tensor) -> Tensor:
    logits = logits.float().flatten(0, -2)
    return functional.cross_entropy(logits, functional.softmax(logits.detach() / 2, dim=-1))


def _logits(supernet: Supernet, outputs: Any) -> Tensor:
    if "logits" not in outputs:
        raise _headless(supernet)
    logits: Tensor = outputs["logits"].float()
    return logits


def _headless(supernet: Supernet) -> ImportanceError:
    return ImportanceError(
        f"Gradients need a model with a task head, got {type(supernet.model).__name__}; load a fine-tuned model or "
        "use the activation importance."
    )
