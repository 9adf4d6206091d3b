"""Where the trainings of a run have their places: checkpoints in one folder, scalars in another."""

import shutil
from pathlib import Path
from typing import Protocol

from nas.long_work.checkpoint import temporary_of
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.long_work.stopping import GO_ON


class TrainingPlaces(Protocol):
    """The places of trainings, by names that are the same in every process of a run."""

    def of(self, name: str) -> TrainingPlace:
        """The place of one training, with room for scalars whether it writes any or not."""

    def forget(self, name: str) -> None:
        """Removes the checkpoint of a training whose result is stored; scalars stay."""

    def forget_all(self) -> None:
        """Removes the checkpoints of all trainings."""


class NoPlaces:
    """There is no folder: trainings begin anew after an interruption, and write no scalars."""

    def of(self, name: str) -> TrainingPlace:
        """See ``TrainingPlaces``."""
        del name
        return NOWHERE

    def forget(self, name: str) -> None:
        """See ``TrainingPlaces``."""
        del name

    def forget_all(self) -> None:
        """See ``TrainingPlaces``."""


NO_PLACES = NoPlaces()


class PlacesInFolders:
    """Checkpoints ``NAME.pt`` in one folder, and a folder of scalars for each training in another.

    Args:
        checkpoints: Made with the first checkpoint, removed with the last.
        scalars: Made with the first scalar.
        how_to_go_on: With an interrupted training, for people.
    """

    def __init__(self, *, checkpoints: Path, scalars: Path, how_to_go_on: str = GO_ON) -> None:
        self._checkpoints, self._scalars, self._how_to_go_on = checkpoints, scalars, how_to_go_on

    def of(self, name: str) -> TrainingPlace:
        """See ``TrainingPlaces``."""
        return TrainingPlace(checkpoint=self._file(name), scalars=self._scalars / name, how_to_go_on=self._how_to_go_on)

    def forget(self, name: str) -> None:
        """See ``TrainingPlaces``."""
        file = self._file(name)
        temporary_of(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        if self._checkpoints.exists() and not any(self._checkpoints.iterdir()):
            self._checkpoints.rmdir()

    def forget_all(self) -> None:
        """See ``TrainingPlaces``."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self._checkpoints / f"{name}.pt"
