"""What a search has made that takes long to make again: files among the artifacts, since workers share no folder.

Below ``searches/SEARCH_ID/`` lie the weights that sub-networks were trained to, ``weights/KEY-KIND.safetensors``, until
the search is deleted, like exports; and while a training goes on its checkpoint, ``checkpoints/NAME.pt``.
"""

import logging
from pathlib import Path

from nas.artifacts import ArtifactError, ArtifactStore
from nas.store.base import WeightsKind
from nas.store.errors import StoreError
from nas.store.weights import WeightsFolder
from nas.supernet.own_weights import OwnWeights, OwnWeightsError
from search_spaces.sub_network import SubNetwork

LOG = logging.getLogger(__name__)


class SearchFiles:
    """The files of one search among the artifacts.

    Args:
        artifacts: All files of the service.
        search_id: The search's.
        scratch: A folder of this process, for files that come from there or go there.
    """

    def __init__(self, artifacts: ArtifactStore, search_id: str, scratch: Path) -> None:
        self._artifacts = artifacts
        self._search_id = search_id
        self.scratch = scratch

    def fetch(self, name: str, file: Path) -> bool:
        """Copies one of them here.

        Args:
            name: Within the search.
            file: To write; it appears whole or not at all.

        Returns:
            Whether there is one.

        Raises:
            ArtifactError: The place does not answer, or there is no room here.
        """
        if not self._artifacts.exists(self.name(name)):
            return False
        self._artifacts.fetch(self.name(name), file)
        return True

    def publish(self, file: Path, name: str) -> None:
        """Copies a file there, in the place of one that had its name. Errors are those of ``ArtifactStore.publish``."""
        self._artifacts.publish(file, self.name(name))

    def remove(self, name: str) -> None:
        """Removes one of them, if it is there. Errors are those of ``ArtifactStore.remove``."""
        self._artifacts.remove(self.name(name))

    def remove_below(self, folder: str) -> None:
        """Removes all those in a folder. Errors are those of ``ArtifactStore.remove_below``."""
        self._artifacts.remove_below(self.name(folder))

    def name(self, name: str) -> str:
        """Of one of them among all artifacts."""
        return name_of(self._search_id, name)


def folder_of(search_id: str) -> str:
    """Where a search's files are, among all artifacts."""
    return f"searches/{search_id}"


def name_of(search_id: str, name: str) -> str:
    """Of a search's file or folder among all artifacts."""
    return f"{folder_of(search_id)}/{name}"


class KeptWeights:
    """Weights of sub-networks, each in a file as the folder of a run has it.

    What cannot be kept or read is said in the log and made again where it is wanted: a place that is away costs time,
    and ends no search.

    Args:
        files: Of the search.
        folder: Here, for the files in hand; made when there are some.
    """

    def __init__(self, files: SearchFiles, folder: Path) -> None:
        self._files = files
        self._path = folder
        self._folder = WeightsFolder(folder)

    def fetch(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """What was kept, with its file in the folder; None where nothing was, or nothing that could be read."""
        file = self._folder.file(sub_network, kind)
        try:
            if not file.exists() and not self._files.fetch(_name(file), file):
                return None
            return self._folder.load(sub_network, kind)
        except (ArtifactError, OwnWeightsError) as error:
            LOG.warning("weights of a sub-network that were kept cannot be used and are made again: %s", error)
            file.unlink(missing_ok=True)
            return None

    def load(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """The same, without leaving a file that was fetched: all of them would need room for as many models."""
        file = self._folder.file(sub_network, kind)
        is_here = file.exists()
        found = self.fetch(sub_network, kind)
        if not is_here:
            file.unlink(missing_ok=True)
        return found

    def keep(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Publishes them, in the place of those of the same kind; where that fails, this process has them still."""
        file = self._folder.file(sub_network, kind)
        try:
            self._folder.keep(sub_network, kind, weights)
            self._files.publish(file, _name(file))
            file.unlink()
        except (ArtifactError, StoreError) as error:
            LOG.warning("weights of a sub-network could not be kept; an export makes them again: %s", error)


def _name(file: Path) -> str:
    return f"weights/{file.name}"
