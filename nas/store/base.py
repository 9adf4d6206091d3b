"""Where a search keeps what it has found: all that it needs of a folder or of a service's database."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from nas.long_work.places import TrainingPlaces
from nas.supernet.own_weights import OwnWeights
from nas.trial import Trial
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

WeightsKind = Literal["trained", "recovered"]
"""From a pruner that trains while it prunes, or from the training of a finalist."""


class SearchStore(Protocol):
    """The state of one search. What a method returned from is kept, whatever happens to the process.

    Every method may raise ``StoreError``.
    """

    @property
    def search_id(self) -> str:
        """The same for as long as the search lives."""

    @property
    def places(self) -> TrainingPlaces:
        """Where trainings keep their state."""

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """All trials by number.

        Args:
            shape: The supernet's that they were cut from.
        """

    def begin(self, sub_network: SubNetwork) -> int:
        """Notes that the sub-network is about to be judged.

        Returns:
            How often that was begun and not ended by ``add``, this time included: above 1 its process has died.
        """

    def add(self, trial: Trial) -> None:
        """Stores a trial.

        Raises:
            DuplicateTrialError: Its number or its sub-network is in the store already.
        """

    def replace_measurements(self, trial: Trial) -> None:
        """Puts the trial's measurements in the place of those stored under its number."""

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """Weights that were kept; None where there are none, and they have to be made again.

        Raises:
            OwnWeightsError: They are damaged.
        """

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Keeps weights that took long to make, if there is a place for them."""

    def write_front(self, record: Mapping[str, Any]) -> None:
        """Replaces the front; a reader finds the old one or the new one.

        Args:
            record: The content of ``front.json``.
        """
