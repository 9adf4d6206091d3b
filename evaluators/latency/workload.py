"""The workloads whose cost is measured: prefill, decode and encode.

- ``prefill``: one forward pass over the context that fills a KV cache and computes the logits of the last token
  only, as generation does. Its duration is the time to the first token.
- ``decode``: single-token steps after the context, each reading and extending a real KV cache and choosing the next
  token greedily. Its duration is the time per output token.
- ``encode``: one forward pass of an encoder.

The batch holds no padding, so no attention mask is passed. The caller turns gradients off.

Legend: B batch, T context tokens, V vocabulary.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from evaluators.base import EvaluationError, require_counts
from evaluators.inputs import random_token_ids, require_positions

WorkloadName = Literal["prefill", "decode", "encode"]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A workload bound to a model, to be run any number of times.

    Attributes:
        fresh: Makes what one run uses up (a copy of the KV cache); not timed.
        run: The work; takes what ``fresh`` made.
        num_steps: How many steps one run takes: output tokens for decode, else 1.
    """

    fresh: Callable[[], Any]
    run: Callable[[Any], object]
    num_steps: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the model does while its cost is measured.

    Attributes:
        name: ``prefill``, ``decode`` or ``encode``.
        batch_size: Sequences at once.
        context_tokens: Length of each sequence; for decode, what the KV cache holds before the first step.
        decode_tokens: Output tokens of one run of ``decode``; the cache grows by as many and is then set back.

    Raises:
        EvaluationError: An unknown name, or a count below 1.
    """

    name: WorkloadName
    batch_size: int = 1
    context_tokens: int = 128
    decode_tokens: int = 2

    def __post_init__(self) -> None:
        if self.name not in get_args(WorkloadName):
            raise EvaluationError(
                f"workload must be one of {', '.join(get_args(WorkloadName))}, got {self.name!r}; choose one of them."
            )
        require_counts(self, {"batch_size": 1, "context_tokens": 1, "decode_tokens": 1})

    def prepare(self, model: nn.Module) -> Repeat:
        """Binds the workload to a model, so that it can be repeated; builds the KV cache that decode starts from.

        Raises:
            EvaluationError: A decoder's workload on a model without a KV cache, or too long a context.
        """
        ids_BT = self._token_ids(model)
        if self.name == "encode":
            return Repeat(fresh=lambda: ids_BT, run=lambda ids: encode(model, ids))
        if self.name == "prefill":
            forward = prefill(model)
            return Repeat(fresh=lambda: ids_BT, run=forward)
        token_B1, cache = prefill(model)(ids_BT)
        return Repeat(
            # Not every cache can be cropped (a sliding window forgets), but every cache can be copied.
            fresh=lambda: copy.deepcopy(cache),
            run=lambda fresh_cache: decode(model, token_B1, fresh_cache, num_tokens=self.decode_tokens),
            num_steps=self.decode_tokens,
        )

    def run_once(self, model: nn.Module) -> object:
        """The workload from nothing, holding no more memory than it needs: decode includes its prefill.

        Raises:
            EvaluationError: As ``prepare``.
        """
        ids_BT = self._token_ids(model)
        if self.name == "encode":
            return encode(model, ids_BT)
        token_B1, cache = prefill(model)(ids_BT)
        if self.name == "decode":
            decode(model, token_B1, cache, num_tokens=self.decode_tokens)
        return cache

    def _token_ids(self, model: nn.Module) -> Tensor:
        decoder: Any = model
        if self.name != "encode" and not decoder.can_generate():
            raise EvaluationError(
                f"The {self.name} workload needs a model that generates text with a KV cache, "
                f"got {type(model).__name__}; use workload: encode."
            )
        if self.name == "decode":
            require_positions(model, self.context_tokens + self.decode_tokens)
        return random_token_ids(model, batch_size=self.batch_size, num_tokens=self.context_tokens)


def encode(model: nn.Module, ids_BT: Tensor) -> object:
    """One forward pass of an encoder."""
    return model(input_ids=ids_BT)


def prefill(model: nn.Module) -> Callable[[Tensor], tuple[Tensor, Any]]:
    """The function that reads a context ``(B, T)`` and returns the next tokens ``(B, 1)`` and the KV cache."""
    # Looked up here, outside what is timed. The few models without the argument compute the logits of all tokens.
    parameters = inspect.signature(model.forward).parameters
    last_logits_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def forward(ids_BT: Tensor) -> tuple[Tensor, Any]:
        output = model(input_ids=ids_BT, use_cache=True, **last_logits_only)
        return _next_token(output.logits), output.past_key_values

    return forward


def decode(model: nn.Module, token_B1: Tensor, cache: Any, *, num_tokens: int) -> Tensor:
    """Generates that many tokens greedily after ``token_B1``; extends the cache; returns the last one ``(B, 1)``."""
    for _ in range(num_tokens):
        output = model(input_ids=token_B1, past_key_values=cache, use_cache=True)
        token_B1 = _next_token(output.logits)
    return token_B1


def _next_token(logits_BTV: Tensor) -> Tensor:
    return logits_BTV[:, -1:].argmax(dim=-1)
