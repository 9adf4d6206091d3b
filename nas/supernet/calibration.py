"""Texts as token sequences: what importance scores look at, and what trainings learn from."""

from array import array
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evaluators.inputs import Batch, cut_text, room_for_text
from nas.supernet.importance.base import ImportanceError

PIECE_CHARS = 2**20
"""How much of a text is tokenised at once. A tokenizer keeps some hundred bytes for each token of what it is given."""


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
    sequences_ST = token_sequences(
        tokenizer, text, sequence_tokens=sequence_tokens, purpose="calibration", max_sequences=max_sequences
    )
    return [Batch(inputs={"input_ids": ids_BT}) for ids_BT in sequences_ST.split(batch_size)]


def token_sequences(
    tokenizer: PreTrainedTokenizerBase | None,
    text: Path,
    *,
    sequence_tokens: int,
    purpose: str,
    max_sequences: int | None = None,
) -> Tensor:
    """A text file as equally long sequences, one after the other; what is left over at its end is dropped.

    Each begins with the tokenizer's BOS token, if it puts one before a text. The text is read and tokenised a piece at
    a time, cut at ends of lines, and no further than it is wanted.

    Args:
        tokenizer: The supernet's.
        text: A UTF-8 file.
        sequence_tokens: Length of a sequence.
        purpose: What the text is for, as the errors should say it.
        max_sequences: Sequences taken from the beginning of the file; None for all.

    Returns:
        ``(num_sequences, sequence_tokens)`` int64 token ids.

    Raises:
        ImportanceError: There is no tokenizer, no such file, or not one whole sequence in it.
    """
    if tokenizer is None:
        raise ImportanceError(
            f"{purpose.capitalize()} needs a tokenizer, and the model has none; save one into its folder."
        )
    num_own = room_for_text(tokenizer, sequence_tokens)
    ids = array("q")  # 64-bit
    try:
        for piece in _pieces(text):
            ids.extend(tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"])
            if max_sequences is not None and len(ids) >= max_sequences * num_own:
                break
    except (OSError, UnicodeDecodeError) as error:
        raise ImportanceError(
            f"The {purpose} text must be a readable UTF-8 file, got {text} ({error}); check the path."
        ) from error
    if len(ids) < num_own:
        raise ImportanceError(
            f"The {purpose} text must hold at least {num_own} tokens, got {len(ids)} in {text}; give a longer text."
        )
    return cut_text(tokenizer, ids, num_tokens=sequence_tokens)[:max_sequences]


def _pieces(text: Path) -> Iterator[str]:
    """The file in parts of whole lines, of about ``PIECE_CHARS`` characters."""
    with text.open(encoding="utf-8") as file:
        while lines := file.readlines(PIECE_CHARS):
            yield "".join(lines)
