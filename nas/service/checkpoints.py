"""Checkpoints among the artifacts, from which another worker goes on with a training.

A training writes its checkpoint into a folder of its own process. Each one is then sent to the artifacts, in the place
of the one before, and stays there until the training's result is stored. A worker that takes the search up fetches it.

A worker that has lost the lease publishes nothing, but an upload takes a while: it may lose the lease in the middle of
one, and put an old checkpoint in the place of a newer one, or where there is none any more. That costs time and nothing
else. Each is a whole state of one and the same training, which is drawn from the seed and the number of the step alone,
so that from an older one the same weights come, later; one of another training is refused by what it belongs to; and
those that nobody needs go with the end of the search.
"""

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from nas.artifacts import ArtifactError, ArtifactStore
from nas.long_work.session import TrainingPlace
from nas.long_work.stopping import TrainingStoppedError
from nas.service.database import DatabaseError
from nas.service.queue import LeaseLostError
from nas.service.search_files import SearchFiles, name_of

LOG = logging.getLogger(__name__)
GO_ON = "a worker goes on from there"
_FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one search, by names that are the same in every process.

    What cannot be sent or read is said in the log: it would have saved time, and is worth no search.

    Args:
        files: Of the search.
        hold: Raises ``LeaseLostError`` where the search is another worker's, or ``DatabaseError``.
        get_on: Notes progress, with the same errors.
    """

    def __init__(self, files: SearchFiles, *, hold: Callable[[], None], get_on: Callable[[], None]) -> None:
        self._files, self._hold, self._get_on = files, hold, get_on

    def file(self, name: str) -> Path:
        """Where one lies in this process."""
        return self._files.scratch / _FOLDER / name

    def fetch(self, name: str) -> bool:
        """Brings one here, unless this process has it already.

        Args:
            name: Of a zip file, as torch's are too: its checksums tell whether it is intact.

        Returns:
            Whether there is one.
        """
        file = self.file(name)
        if file.exists():
            return True
        try:
            if not self._files.fetch(_name(name), file):
                return False
            _check(file)
        except (ArtifactError, zipfile.BadZipFile) as error:
            LOG.warning("the checkpoint %s cannot be used, and its training begins anew: %s", name, error)
            file.unlink(missing_ok=True)
            return False
        LOG.info("going on from the checkpoint %s of a worker before", name)
        return True

    def publish(self, name: str) -> None:
        """Sends the one that lies here, and notes that the search gets on.

        Raises:
            TrainingStoppedError: The search is another worker's by now, or the database is away.
        """
        try:
            self._hold()
            try:
                self._files.publish(self.file(name), _name(name))
            except ArtifactError as error:  # the job has not got on: whoever takes it up begins where this one did
                LOG.warning("the checkpoint %s could not be kept, and the training goes on: %s", name, error)
            else:
                self._get_on()
        except (LeaseLostError, DatabaseError) as error:
            raise TrainingStoppedError(str(error)) from error

    def remove(self, name: str) -> None:
        """Removes one, here and there. Errors are those of ``hold``."""
        self.file(name).unlink(missing_ok=True)
        self._remove(lambda: self._files.remove(_name(name)))

    def remove_all(self) -> None:
        """Removes all of them, those that this process knows nothing of too. Errors are those of ``hold``."""
        shutil.rmtree(self._files.scratch / _FOLDER, ignore_errors=True)
        self._remove(lambda: self._files.remove_below(_FOLDER))

    def _remove(self, act: Callable[[], None]) -> None:
        self._hold()
        _say_if_it_fails(act)


def remove_checkpoints(artifacts: ArtifactStore, search_id: str) -> None:
    """Removes all those of a search that has ended in nobody's hands."""
    _say_if_it_fails(lambda: artifacts.remove_below(name_of(search_id, _FOLDER)))


def _say_if_it_fails(remove: Callable[[], None]) -> None:
    try:
        remove()
    except ArtifactError as error:
        LOG.warning("checkpoints that nobody needs any more could not be removed: %s", error)


class PlacesInArtifacts:
    """``TrainingPlaces`` whose checkpoints outlive the worker. No scalars are written: there is no folder for them.

    Args:
        checkpoints: Of the search.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def of(self, name: str) -> TrainingPlace:
        """The place of one training, with the checkpoint of whoever was at it before."""
        own = f"{name}.pt"
        self._checkpoints.fetch(own)
        return TrainingPlace(
            checkpoint=self._checkpoints.file(own),
            how_to_go_on=GO_ON,
            on_checkpoint=lambda: self._checkpoints.publish(own),
        )

    def forget(self, name: str) -> None:
        """See ``TrainingPlaces``."""
        self._checkpoints.remove(f"{name}.pt")

    def forget_all(self) -> None:
        """See ``TrainingPlaces``."""
        self._checkpoints.remove_all()


def _name(name: str) -> str:
    return f"{_FOLDER}/{name}"


def _check(file: Path) -> None:
    """Reads a zip file through, a piece at a time.

    Raises:
        BadZipFile: It is none, or damaged.
    """
    with zipfile.ZipFile(file) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
