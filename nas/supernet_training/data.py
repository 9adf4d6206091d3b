"""What a supernet learns from, batch after batch, in an order that its number and the seed alone decide.

So a training that goes on after a break takes up the very batch that came next.

Legend: S sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.accelerating import batch_of_step
from nas.long_work.checkpoint import fingerprint_of_examples


class DataError(ValueError):
    """Nothing to learn from; the message says what to give."""


class TrainingData(Protocol):
    """Batches without end."""

    @property
    def fingerprint(self) -> str:
        """Names what there is to learn from, whatever its order."""

    def batch(self, number: int) -> Batch:
        """The batch of that number; the same on every call."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Sequences of a text, drawn anew in every epoch; those that fill no batch are left out of it.

    Attributes:
        ids_ST: ``(num_sequences, num_tokens)`` int64 token ids.
        batch_size: Sequences in a batch.
        seed: Of the order.

    Raises:
        DataError: There is not one whole batch.
    """

    ids_ST: Tensor
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.ids_ST) < self.batch_size:
            raise DataError(
                f"The training text must hold at least one batch of {self.batch_size} sequences of "
                f"{self.ids_ST.shape[1]} tokens, got {len(self.ids_ST)} sequences; give a longer text, or lower "
                "batch_size or sequence_tokens."
            )

    @property
    def fingerprint(self) -> str:
        """Names the sequences."""
        return fingerprint_of_examples([{"input_ids": self.ids_ST}])

    def batch(self, number: int) -> Batch:
        """The batch of that number; the same on every call."""
        epoch, position = divmod(number, len(self.ids_ST) // self.batch_size)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.ids_ST))
        rows = order[position * self.batch_size :][: self.batch_size]
        return Batch(inputs={"input_ids": self.ids_ST[torch.from_numpy(rows)]})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Labelled batches of a task, drawn anew in every epoch.

    Attributes:
        batches: Of examples of like length.
        seed: Of the order.
    """

    batches: Sequence[Batch]
    seed: int

    @property
    def fingerprint(self) -> str:
        """Names the examples and their labels."""
        return fingerprint_of_examples({**batch.inputs, **batch.labels} for batch in self.batches)

    def batch(self, number: int) -> Batch:
        """The batch of that number; the same on every call."""
        return batch_of_step(self.batches, self.seed, number)
