r"""What a pass is trained on: the true loss, or a teacher's logits of the same batch.

The teacher is the largest sub-network as it is, or the model that training began with.

    forward:  T² Σ_v p_v (log p_v − log q_v)        reverse:  T² Σ_v q_v (log q_v − log p_v)

with the teacher's p = softmax(logits / T), the student's q likewise, and the mean over tokens that are no padding
(in-place distillation, arXiv:1903.05134; reverse KL, arXiv:2306.08543). With ``top_k``, both softmaxes run over the
teacher's k largest logits alone, so that a large vocabulary's logits need not be kept.

Legend: B batch, T tokens, V vocabulary or classes, N predictions, K logits kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from evaluators.inputs import IGNORED, PADDED_LOGIT, Batch
from nas.supernet_training.config import DistillationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a model says of a batch.

    Attributes:
        logits_NV: ``(num_predictions, num_classes)`` float32, none of them of padding.
        loss: Computes the true one, a scalar in float32.
    """

    logits_NV: Tensor
    loss: Callable[[], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """What students learn from.

    Attributes:
        log_probabilities_NK: ``(num_predictions, num_kept)`` float32.
        indices_NK: Which classes these are, int64; None for all of them.
    """

    log_probabilities_NK: Tensor
    indices_NK: Tensor | None


def predict(model: PreTrainedModel, batch: Batch, *, predicts_tokens: bool) -> Predictions:
    """Runs the model, in whatever precision is set outside.

    Args:
        model: A causal language model, or a model with a task's head.
        batch: On its device; labelled for a task.
        predicts_tokens: Which of the two it is.
    """
    if predicts_tokens:
        logits_BTV = model(**batch.inputs, use_cache=False).logits
        return _next_tokens(logits_BTV, batch)
    output: Any = model(**batch.inputs, **batch.labels)
    if "start_logits" in output:
        logits_NT = torch.cat([output.start_logits, output.end_logits]).float()
        padding_NT = ~batch.tokens_BT.repeat(2, 1)
        return Predictions(logits_NV=logits_NT.masked_fill(padding_NT, PADDED_LOGIT), loss=output.loss.float)
    logits = output.logits[batch.tokens_BT] if output.logits.ndim == 3 else output.logits
    return Predictions(logits_NV=logits.float(), loss=output.loss.float)


def teacher_of(logits_NV: Tensor, distillation: DistillationConfig) -> Teacher:
    """What the logits of a teacher teach, without a way back to its weights."""
    logits_NK, indices_NK = logits_NV.detach(), None
    if distillation.top_k is not None and distillation.top_k < logits_NV.shape[1]:
        logits_NK, indices_NK = logits_NK.topk(distillation.top_k, dim=-1)
    return Teacher(
        log_probabilities_NK=functional.log_softmax(logits_NK / distillation.temperature, dim=-1),
        indices_NK=indices_NK,
    )


def divergence(student_NV: Tensor, teacher: Teacher, distillation: DistillationConfig) -> Tensor:
    """How far a student is from its teacher, in nats times T², mean over predictions: a scalar.

    Args:
        student_NV: Logits on the teacher's predictions.
        teacher: Made with the same options.
        distillation: Of type ``forward_kl`` or ``reverse_kl``.
    """
    student_NK = student_NV if teacher.indices_NK is None else student_NV.gather(1, teacher.indices_NK)
    log_q_NK = functional.log_softmax(student_NK / distillation.temperature, dim=-1)
    log_p_NK = teacher.log_probabilities_NK
    if distillation.type == "reverse_kl":
        log_p_NK, log_q_NK = log_q_NK, log_p_NK
    nats = functional.kl_div(log_q_NK, log_p_NK, reduction="batchmean", log_target=True)
    return distillation.temperature**2 * nats


def _next_tokens(logits_BTV: Tensor, batch: Batch) -> Predictions:
    """Every token predicts the next; the last of a row, and padding, predict nothing."""
    logits_NV = logits_BTV[:, :-1].flatten(0, 1).float()
    targets_BT = batch.inputs["input_ids"][:, 1:].masked_fill(~batch.tokens_BT[:, 1:], IGNORED)
    targets_N = targets_BT.flatten()
    is_real_N = targets_N != IGNORED
    if not is_real_N.all():
        logits_NV, targets_N = logits_NV[is_real_N], targets_N[is_real_N]
    return Predictions(logits_NV=logits_NV, loss=lambda: functional.cross_entropy(logits_NV, targets_N))
