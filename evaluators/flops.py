"""Floating-point operations of one forward pass at batch size 1, with logits for every token.

Counted by PyTorch as the matrix products are dispatched, so whatever modules the model is made of, what runs is what
counts. A product of (m, k) and (k, n) takes 2 m k n operations. Attention takes 4 H T^2 D for H heads of width D and T
tokens: scores and values, without credit for what a causal mask leaves out. Norms, activations and softmax are not
counted. For a decoder of L layers, width E, K KV heads, N neurons (gated) and V tokens this comes to

    2 T (L (2 E H D + 2 E K D + 3 E N) + E V) + 4 L H T^2 D
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from evaluators.base import Direction, Measurement, Subject, require_counts
from evaluators.inputs import random_token_ids


def _attention_on_cpu(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """PyTorch has formulas for attention on GPUs only; the count is the same."""
    del args, out_shape, kwargs
    return int(sdpa_flop_count(query, key, value))


_MISSING_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu}


@torch.no_grad()
def count_flops(model: nn.Module, *, num_tokens: int) -> int:
    """Operations of one forward pass over ``num_tokens`` tokens.

    Raises:
        EvaluationError: More tokens than the model has positions.
    """
    ids_BT = random_token_ids(model, batch_size=1, num_tokens=num_tokens)
    with FlopCounterMode(display=False, custom_mapping=_MISSING_FORMULAS) as counter:
        model(input_ids=ids_BT)
    return int(counter.get_total_flops())


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Measures ``flops``.

    Attributes:
        context_tokens: Length of the forward pass.

    Raises:
        EvaluationError: A length below 1.
    """

    context_tokens: int = 128

    def __post_init__(self) -> None:
        require_counts(self, {"context_tokens": 1})

    @property
    def name(self) -> str:
        """Always ``flops``."""
        return "flops"

    @property
    def unit(self) -> str:
        """Always ``flops``."""
        return "flops"

    @property
    def direction(self) -> Direction:
        """Less is better."""
        return "minimize"

    @property
    def varies(self) -> bool:
        """An exact count."""
        return False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Counts during one real forward pass.

        Raises:
            EvaluationError: More tokens than the model has positions.
        """
        flops = count_flops(subject.model, num_tokens=self.context_tokens)
        return {self.name: Measurement(value=float(flops), unit=self.unit)}
