"""Recoveries by training: worth their price for the few sub-networks that a search ends with, not for each one."""

from collections.abc import Sequence
from typing import Protocol

from evaluators.inputs import Batch
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.recovery.base import RecoveryError
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from nas.supernet.training import OnStep, in_original_order, untold
from search_spaces.sub_network import SubNetwork


class FinalistRecovery(Protocol):
    """Wins quality back by training one sub-network."""

    @property
    def num_sequences(self) -> int:
        """So many examples are made use of at most."""

    @property
    def batch_size(self) -> int:
        """Examples in a batch."""

    def __call__(
        self,
        supernet: Supernet,
        sub_network: SubNetwork,
        batches: Sequence[Batch],
        *,
        seed: int,
        start: OwnWeights | None = None,
        on_step: OnStep = untold,
        place: TrainingPlace = NOWHERE,
    ) -> OwnWeights:
        """Trains.

        Args:
            supernet: At rest, its units in their original order; left as it was.
            sub_network: Of its shape.
            batches: Examples; labels are not looked at.
            seed: Of what is drawn. The same arguments give the same weights on the CPU.
            start: Weights to begin from in place of those shared with the supernet.
            on_step: Told of every step; what it raises ends the training as a crash would.
            place: Where the training keeps its checkpoint, and goes on from it; and its scalars.

        Raises:
            RecoveryError: There is no batch, or training cannot go on.
            CheckpointError: A checkpoint of another training, or no room for one.
            TrainingStoppedError: The training was asked to stop.
            ScalarsError: Scalars are asked for, and the package for them is not installed.
        """


class FinalistRecoverer:
    """A recovery by training, bound to a supernet and its examples.

    Args:
        recovery: How quality is won back.
        supernet: Whose sub-networks they are.
        batches: Examples; labels are not looked at.
        seed: Of what is drawn.
    """

    def __init__(self, recovery: FinalistRecovery, supernet: Supernet, batches: Sequence[Batch], *, seed: int) -> None:
        self._recovery = recovery
        self._supernet = supernet
        self._batches = [batch.unlabelled for batch in batches]
        self._seed = seed

    def __call__(
        self,
        sub_network: SubNetwork,
        *,
        start: OwnWeights | None = None,
        on_step: OnStep = untold,
        place: TrainingPlace = NOWHERE,
    ) -> OwnWeights:
        """The recovered weights, the same whenever they are asked for; arguments and errors are the recovery's."""
        with in_original_order(self._supernet) as supernet:
            return self._recovery(
                supernet, sub_network, self._batches, seed=self._seed, start=start, on_step=on_step, place=place
            )


def require_batches(batches: Sequence[Batch]) -> None:
    """Checks that there is something to learn from.

    Raises:
        RecoveryError: There is no batch.
    """
    if not batches:
        raise RecoveryError("A recovery needs at least one batch of calibration examples, got none; give some text.")
