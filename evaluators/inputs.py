"""Token ids to run a model on when only its cost matters, not what it says.

Legend: B batch, T tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn

from evaluators.base import EvaluationError


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
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and num_tokens > limit:
        raise EvaluationError(
            f"The model reads at most max_position_embeddings={limit} tokens, got {num_tokens}; ask for fewer."
        )


def device_of(model: nn.Module) -> torch.device:
    """Where the model expects its input."""
    return next(model.parameters()).device
