"""How far one model's predictions are from another's, for whatever head the two have."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from evaluators.inputs import PADDED_LOGIT

ENDS = ("start_logits", "end_logits")
"""Outputs of question answering, whose classes are the tokens."""


def prediction_divergence(learnt: Any, taught: Any, tokens_BT: Tensor, *, temperature: float) -> Tensor:
    """τ² KL of a learner's predictions from a teacher's (arXiv:1503.02531), the mean over what is predicted.

    That is tokens for logits of tokens, examples for logits of examples, and for the beginning and the end of an answer
    each example once. Padding is left out.

    Args:
        learnt: The learner's outputs, as transformers' models give them.
        taught: The teacher's.
        tokens_BT: False = padding.
        temperature: τ.
    """
    if ENDS[0] in taught:
        learnt_BT, taught_BT = (
            [one[name].float().masked_fill(~tokens_BT, PADDED_LOGIT) for name in ENDS] for one in (learnt, taught)
        )
        start, end = (_divergence(*pair, temperature) for pair in zip(learnt_BT, taught_BT, strict=True))
        return (start + end) / 2
    own, wanted = learnt["logits"], taught["logits"]
    if wanted.dim() == 3:
        own, wanted = own[tokens_BT], wanted[tokens_BT]
    return _divergence(own.float(), wanted.float(), temperature)


def _divergence(own_PV: Tensor, wanted_PV: Tensor, temperature: float) -> Tensor:
    own_PV = functional.log_softmax(own_PV / temperature, dim=-1)
    wanted_PV = functional.log_softmax(wanted_PV / temperature, dim=-1)
    return temperature**2 * functional.kl_div(own_PV, wanted_PV, reduction="batchmean", log_target=True)
