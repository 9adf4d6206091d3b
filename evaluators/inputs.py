"""What models are run on: batches of examples, and token ids for when only a model's cost matters.

Legend: B batch, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.base import EvaluationError

IGNORED = -100
"""The label that transformers' losses leave out."""

PADDED_LOGIT = -1e4
"""For what is padding among the classes: small enough for a probability of 0, and finite at any temperature."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Examples that go through a model at once.

    Attributes:
        inputs: What the model takes by name: ``input_ids`` ``(B, T)`` int64; where rows are padded
            ``attention_mask`` ``(B, T)``, 1 = token; perhaps ``token_type_ids``.
        labels: What its task head takes to compute a loss, by name (``labels``; ``start_positions`` and
            ``end_positions``). Empty where the examples are unlabelled.

    Raises:
        EvaluationError: A row is padding alone.
    """

    inputs: Mapping[str, Tensor]
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tokens_BT.any(dim=1).all():
            raise EvaluationError(
                "Every example must hold at least one token, got a row that is padding alone; leave empty texts out."
            )

    @property
    def tokens_BT(self) -> Tensor:
        """``(B, T)`` bool, False = padding."""
        mask_BT = self.inputs.get("attention_mask")
        return torch.ones_like(self.inputs["input_ids"], dtype=torch.bool) if mask_BT is None else mask_BT.bool()

    @property
    def unlabelled(self) -> "Batch":
        """The same without labels."""
        return Batch(inputs=self.inputs)

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            labels={name: tensor.to(device) for name, tensor in self.labels.items()},
        )


def random_token_ids(model: nn.Module, *, batch_size: int, num_tokens: int) -> Tensor:
    """``(batch_size, num_tokens)`` int64 on the model's device, the same on every call.

    Drawn from the upper half of the vocabulary, because special tokens (padding above all, which some models look
    for in their input) stand at its beginning.

    Raises:
        EvaluationError: More tokens than the model has positions.
    """
    require_positions(model, num_tokens)
    config: Any = model.config
    rng = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(config.vocab_size // 2, config.vocab_size, (batch_size, num_tokens), generator=rng)
    return ids_BT.to(device_of(model))


def require_positions(model: nn.Module, num_tokens: int) -> None:
    """Checks that the model can read that many tokens at once.

    Raises:
        EvaluationError: It cannot.
    """
    limit, config = most_tokens(model), model.config
    if limit is not None and num_tokens > limit:
        own = "max_position_embeddings=" if limit == getattr(config, "max_position_embeddings", None) else ""
        raise EvaluationError(f"The model reads at most {own}{limit} tokens, got {num_tokens}; ask for fewer.")


def require_tokens(model: nn.Module, ids: Tensor) -> None:
    """Checks that the model's embedding has a row for every token.

    Args:
        model: That is to read them.
        ids: Of any shape; int64 token ids, at least one.

    Raises:
        EvaluationError: It has not: the tokenizer beside it is another model's.
    """
    config: Any = model.config
    largest, limit = int(ids.max()), int(config.vocab_size)
    if largest >= limit:
        raise EvaluationError(
            f"The model knows the tokens below vocab_size={limit}, got the token {largest} from the tokenizer beside "
            "it; save the model's own tokenizer into its folder, or resize its embedding."
        )


def cut_text(tokenizer: Any, ids: Sequence[int], *, num_tokens: int) -> Tensor:
    """A text's tokens as equally long sequences, one after the other; what is left over at its end is dropped.

    Args:
        tokenizer: Of the model that is to read them. A BOS token that it puts before texts begins each sequence: Llama
            and Mistral were trained with it, and Gemma's perplexity is tens of times as high without.
        ids: Of the whole text, without special tokens.
        num_tokens: Length of a sequence.

    Returns:
        ``(num_sequences, num_tokens)`` int64; without rows where the text does not fill one.
    """
    beginning = torch.tensor(_first_tokens(tokenizer), dtype=torch.int64)
    num_own = num_tokens - len(beginning)
    num_sequences = len(ids) // num_own
    own_ST = torch.from_numpy(np.array(ids[: num_sequences * num_own], dtype=np.int64)).view(num_sequences, num_own)
    return torch.cat([beginning.expand(num_sequences, -1), own_ST], dim=1)


def room_for_text(tokenizer: Any, num_tokens: int) -> int:
    """How many of a sequence's tokens ``cut_text`` takes from the text."""
    return num_tokens - len(_first_tokens(tokenizer))


def _first_tokens(tokenizer: Any) -> list[int]:
    begun: list[int] = tokenizer("a", verbose=False)["input_ids"][:1]
    return begun if begun == [tokenizer.bos_token_id] else []


def most_tokens(model: nn.Module) -> int | None:
    """How many tokens the model reads at once; None where its positions have no end."""
    config: Any = model.config
    limit: int | None = getattr(config, "max_position_embeddings", None)
    # RoBERTa counts positions from behind that of padding.
    return limit - config.pad_token_id - 1 if limit is not None and config.model_type == "roberta" else limit


def device_of(model: nn.Module) -> torch.device:
    """Where the model expects its input."""
    return next(model.parameters()).device
