"""What an exporter is, and how its files appear: whole, in an empty place, or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from evaluators.base import Measurement
from nas.supernet.own_weights import SubNetworkWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

Adding = Callable[[Path], None]
"""Writes more files into an exported folder; must leave alone what is there."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ExportError(ValueError):
    """A sub-network that cannot be written, or whose files do not compute what it computes; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written.

    Attributes:
        folder: Where it lies.
        target: The runtime it is for.
        load_with: How that runtime loads it, as a line of code.
        num_parameters: Of the reloaded model.
        size_bytes: Of all files together that the runtime needs, without what was added.
        max_abs_difference: Between the outputs of the reloaded model and those of the active sub-network.
        tolerance: What that difference may be.
    """

    folder: Path
    target: str
    load_with: str
    num_parameters: int
    size_bytes: int
    max_abs_difference: float
    tolerance: float


class Exporter(Protocol):
    """Writes sub-networks for one runtime."""

    def __call__(
        self,
        supernet: Supernet,
        sub_network: SubNetwork,
        *,
        folder: Path,
        measurements: Mapping[str, Measurement],
        weights: SubNetworkWeights | None = None,
        add: Adding | None = None,
    ) -> ExportReport:
        """Writes the files, loads them in their runtime and compares.

        Args:
            supernet: What the sub-network was cut from; with nothing else active afterwards than before.
            sub_network: What to write.
            folder: Where to; it may exist if it is empty.
            measurements: By name, for the model card.
            weights: Recovered ones in place of the supernet's.
            add: What else goes into the folder, once the files have been checked.

        Raises:
            ExportError: The folder is in use or cannot be written to, or the files compute something else.
        """


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside ``folder`` that takes its place once the block ends well, and goes otherwise.

    Raises:
        ExportError: ``folder`` holds something already, or it cannot be written to.
    """
    refuse_used(folder)
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with explained(folder):
            yield staging
            staging.chmod(0o777 & ~_umask())  # mkdtemp lets nobody else in
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_used(folder: Path) -> None:
    """Checks that an export can go there.

    Raises:
        ExportError: ``folder`` holds something already, or it cannot be read.
    """
    with explained(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExportError(f"An export needs a new or empty folder, and {folder} is in use; choose another --out.")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns the system's errors into sentences; safetensors wraps them and keeps their text alone.

    Raises:
        ExportError: ``folder`` could not be read or written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        no_room = error.errno in _NO_ROOM if isinstance(error, OSError) else os.strerror(errno.ENOSPC) in str(error)
        remedy = "free some space" if no_room else "choose another --out or change its permissions"
        raise ExportError(f"An export must be able to write to {folder}, but: {error}; {remedy}.") from error


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
