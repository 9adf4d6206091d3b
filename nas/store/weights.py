"""Weights that belong to sub-networks of a run, one file each."""

from pathlib import Path

from safetensors import SafetensorError

from nas.store.base import WeightsKind
from nas.store.errors import StoreError
from nas.supernet.own_weights import OwnWeights
from search_spaces.sub_network import SubNetwork


class WeightsFolder:
    """Files ``<key of the sub-network>-<kind>.safetensors``; each appears whole or not at all.

    Args:
        path: The folder; made when the first weights are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """What was kept; None where nothing was.

        Raises:
            OwnWeightsError: The file is damaged.
        """
        file = self.file(sub_network, kind)
        return OwnWeights.load(file) if file.exists() else None

    def keep(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Writes them, in the place of those of the same kind.

        Raises:
            StoreError: The disk is full, or the folder cannot be written to.
        """
        try:
            self._path.mkdir(exist_ok=True)
            weights.save(self.file(sub_network, kind))
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"There must be room to keep a sub-network's weights in {self._path}, but {error}; free some space and "
                "repeat with --resume: the trials finished so far are kept."
            ) from error

    def file(self, sub_network: SubNetwork, kind: WeightsKind) -> Path:
        """Where such weights lie, or would."""
        return self._path / f"{sub_network.key}-{kind}.safetensors"
