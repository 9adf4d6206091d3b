"""A search's state in the folder of its run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nas.long_work.places import PlacesInFolders, TrainingPlaces
from nas.run_directory import RunDirectory
from nas.store.base import WeightsKind
from nas.store.trial_store import TrialStore
from nas.store.weights import WeightsFolder
from nas.supernet.own_weights import OwnWeights
from nas.trial import Trial
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class FolderStore:
    """Trials in ``trials.db``, the front in ``front.json``, weights in ``weights/``, trainings in ``trainings/``.

    Args:
        directory: The run's.
        trials: Its database, open.
    """

    def __init__(self, directory: RunDirectory, trials: TrialStore) -> None:
        self._directory = directory
        self._trials = trials
        self._weights = WeightsFolder(directory.weights_path)
        self._places = PlacesInFolders(checkpoints=directory.trainings_path, scalars=directory.tensorboard_path)

    @classmethod
    @contextmanager
    def open(cls, directory: RunDirectory) -> Iterator["FolderStore"]:
        """The store of a run, closed at the end of the block.

        Raises:
            StoreError: The database cannot be read or written.
        """
        with TrialStore(directory.trials_path) as trials:
            yield cls(directory, trials)

    @property
    def search_id(self) -> str:
        """As the run's environment tells it."""
        return str(self._directory.read_environment()["search_id"])

    @property
    def places(self) -> TrainingPlaces:
        """In ``trainings/``, and ``tensorboard/`` for scalars."""
        return self._places

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """All trials by number."""
        return self._trials.trials(shape)

    def begin(self, sub_network: SubNetwork) -> int:
        """Always 1: whoever takes up a search in a folder has seen it end, and decides for themselves."""
        del sub_network
        return 1

    def add(self, trial: Trial) -> None:
        """Stores a trial."""
        self._trials.add(trial)

    def replace_measurements(self, trial: Trial) -> None:
        """Puts the trial's measurements in the place of those stored under its number."""
        self._trials.replace_measurements(trial)

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """Weights that were kept; None where there are none."""
        return self._weights.load(sub_network, kind)

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Keeps weights that took long to make."""
        self._weights.keep(sub_network, kind, weights)

    def write_front(self, record: Mapping[str, Any]) -> None:
        """Replaces the front."""
        self._directory.write_front(record)
