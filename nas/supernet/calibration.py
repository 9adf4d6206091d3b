"""Calibration text: what importance scores look at."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evaluators.inputs import Batch
from nas.supernet.importance.base import ImportanceError


def calibration_batches(
    tokenizer: PreTrainedTokenizerBase | None,
    text: Path,
    *,
    sequence_tokens: int = 128,
    batch_size: int = 8,
    max_sequences: int = 64,
) -> list[Batch]:
    """Cuts a text file into batches of equally long sequences.

    Args:
        tokenizer: The supernet's.
        text: A UTF-8 file.
        sequence_tokens: Length of a sequence.
        batch_size: Sequences in a batch; the last batch may have fewer.
        max_sequences: Sequences taken from the beginning of the file.

    Returns:
        Unlabelled, without padding.

    Raises:
        ImportanceError: There is no tokenizer, no such file, or not one whole sequence in it.
    """
    sequences_ST = token_sequences(tokenizer, text, sequence_tokens=sequence_tokens, purpose="calibration")
    return [Batch(inputs={"input_ids": ids_BT}) for ids_BT in sequences_ST[:max_sequences].split(batch_size)]


def token_sequences(
    tokenizer: PreTrainedTokenizerBase | None, text: Path, *, sequence_tokens: int, purpose: str
) -> Tensor:
    """A text file as equally long sequences, one after the other; what is left over at its end is dropped.

    Args:
        tokenizer: The supernet's.
        text: A UTF-8 file.
        sequence_tokens: Length of a sequence.
        purpose: What the text is for, as the errors should say it.

    Returns:
        ``(num_sequences, sequence_tokens)`` int64 token ids.

    Raises:
        ImportanceError: There is no tokenizer, no such file, or not one whole sequence in it.
    """
    if tokenizer is None:
        raise ImportanceError(
            f"{purpose.capitalize()} needs a tokenizer, and the model has none; save one into its folder."
        )
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportanceError(
            f"The {purpose} text must be a readable UTF-8 file, got {text} ({error}); check the path."
        ) from error
    ids = tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"]
    num_sequences = len(ids) // sequence_tokens
    if num_sequences == 0:
        raise ImportanceError(
            f"The {purpose} text must hold at least {sequence_tokens} tokens, got {len(ids)} in {text}; "
            "give a longer text."
        )
    return torch.tensor(ids[: num_sequences * sequence_tokens]).view(num_sequences, sequence_tokens)
