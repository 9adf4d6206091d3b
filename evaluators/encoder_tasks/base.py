"""What an encoder task is, and from tokenised examples to padded batches.

Legend: B examples at once, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from evaluators.base import EvaluationError
from evaluators.inputs import IGNORED, Batch, device_of, require_positions

Kind = Literal["classification", "question_answering", "token_classification"]


class EncoderTask(Protocol):
    """Labelled examples for one kind of head: the frozen options of where they come from."""

    @property
    def kind(self) -> Kind:
        """The head that learns it."""

    def label_names(self) -> tuple[str, ...]:
        """The classes or tags that occur in the data, sorted; empty for question answering.

        Raises:
            EvaluationError: The data cannot be had, or an example has no label.
        """

    def batches(
        self, tokenizer: Any, label2id: Mapping[str, int], *, batch_size: int, labelled: bool = True
    ) -> list[Batch]:
        """The examples of like length together, padded to the longest of a batch.

        Args:
            tokenizer: The model's fast tokenizer.
            label2id: Number of each class or tag, as in the model's config; not used for question answering.
            batch_size: Examples (windows of a context, for question answering) at once; the last may hold fewer.
            labelled: Whether to add what the head's loss takes: ``labels`` ``(B,)`` int64 for classes, ``(B, T)``
                with -100 where no tag is due, or ``start_positions`` and ``end_positions`` ``(B,)``. Without, labels
                are not even read, and the data need not have any.

        Raises:
            EvaluationError: Data that cannot be had or lack a column, a label that is none of the model's, or a
                tokenizer that cannot do this.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One row for the model, not yet padded.

    Attributes:
        inputs: Token ids and what goes with each of them, by the name that the model knows.
        labels: A number for the row, or one for each token, by name.
    """

    inputs: Mapping[str, list[int]]
    labels: Mapping[str, int | list[int]] = field(default_factory=dict)


NumberedBatch = tuple[list[int], Batch]
"""Numbers of the rows, and the batch that holds them in this order."""


def batched(rows: Sequence[Encoded], tokenizer: Any, *, batch_size: int) -> list[NumberedBatch]:
    """Rows of like length together, the shortest first, padded at their end.

    Raises:
        EvaluationError: The tokenizer cannot pad, or a row holds no token.
    """
    if tokenizer.pad_token_id is None:
        raise EvaluationError("Batches need a padding token, got a tokenizer without; set its pad_token.")
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "attention_mask": 0}
    by_length = sorted(range(len(rows)), key=lambda number: len(rows[number].inputs["input_ids"]))
    batches: list[NumberedBatch] = []
    for start in range(0, len(rows), batch_size):
        numbers = by_length[start : start + batch_size]
        together = [rows[number] for number in numbers]
        inputs = {name: _padded([row.inputs[name] for row in together], padding[name]) for name in together[0].inputs}
        labels = {name: _stacked([row.labels[name] for row in together]) for name in together[0].labels}
        batches.append((numbers, Batch(inputs=inputs, labels=labels)))
    return batches


def outputs_of(model: nn.Module, batch: Batch) -> Any:
    """What the model computes from a batch's inputs, on its own device.

    Raises:
        EvaluationError: The rows are longer than the model's context.
    """
    require_positions(model, batch.inputs["input_ids"].shape[1])
    return model(**batch.unlabelled.to(device_of(model)).inputs)


def require_finite(logits: Tensor) -> None:
    """Checks a model's logits.

    Raises:
        EvaluationError: One is NaN or infinite.
    """
    if not logits.isfinite().all():
        raise EvaluationError(
            "The logits must be finite, got NaN or infinity; load the model in float32 or bfloat16, or leave this "
            "sub-network out."
        )


def require_offsets(tokenizer: Any) -> None:
    """Checks that the tokenizer can tell where in the text its tokens lie.

    Raises:
        EvaluationError: It cannot.
    """
    if not tokenizer.is_fast:
        raise EvaluationError(
            f"Spans and tags need a fast tokenizer, got {type(tokenizer).__name__}; load the model with its "
            "tokenizer.json."
        )


def require_context(model: nn.Module, batches: Sequence[NumberedBatch]) -> None:
    """Checks that the model can read the longest row.

    Raises:
        EvaluationError: It cannot.
    """
    require_positions(model, max(batch.inputs["input_ids"].shape[1] for _, batch in batches))


def require_room(tokenizer: Any, max_tokens: int, *, pair: bool = False) -> None:
    """Checks that something of a text, or of both of a pair, is left once it is cut: tokenizers cut nothing otherwise.

    Raises:
        EvaluationError: Nothing is.
    """
    needed = tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if max_tokens < needed:
        raise EvaluationError(
            f"max_tokens must leave room for a text beside the special tokens, {needed} in all, got {max_tokens}; "
            "raise it."
        )


def inputs_of(encoding: Mapping[str, Any], row: int) -> dict[str, list[int]]:
    """What a tokenizer made of one row, without what only we look at."""
    return {name: encoding[name][row] for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoding}


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    """``(B, T)`` int64."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=value)


def _stacked(labels: Sequence[int | list[int]]) -> Tensor:
    """``(B,)`` or ``(B, T)`` int64."""
    rows = [label for label in labels if isinstance(label, list)]
    return _padded(rows, IGNORED) if rows else torch.tensor(labels)
