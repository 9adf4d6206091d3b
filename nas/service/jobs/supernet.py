"""The supernet that a search trains first, kept among the artifacts for whoever needs it after that.

Its folder (``nas.train_supernet``) is packed as one file: ``searches/SEARCH_ID/supernet.zip`` once training is done,
for a worker that takes the search up and for exports. Until then ``checkpoints/supernet.zip`` holds the folder as it
stands: the checkpoint, and beside it the ranking and the table of latencies, without which the checkpoint would mean
something else.
"""

import logging

from rich.console import Console

from nas.artifacts import ArtifactError
from nas.config import SearchConfig
from nas.export.base import ExportError
from nas.export.bundle import BundleError, pack, unpack
from nas.run_directory import RunDirectory
from nas.service.checkpoints import Checkpoints
from nas.service.jobs.base import LeftError
from nas.service.lease_store import LeaseStore
from nas.service.search_files import SearchFiles
from nas.train_supernet import searched_config, train_supernet, training_config_of
from nas.training_progress import TrainingProgress

LOG = logging.getLogger(__name__)
SUPERNET = "supernet.zip"


class LostSupernetError(ValueError):
    """The supernet that a search trained is not there any more."""


def with_trained_supernet(config: SearchConfig, store: LeaseStore, files: SearchFiles) -> SearchConfig:
    """Trains the supernet, goes on with that, or fetches it, where the config asks for a training.

    Args:
        config: The search's.
        store: Of the search.
        files: Of the search.

    Returns:
        The config with the model to search.

    Raises:
        LeftError: The artifacts are away, or there is no room here.
        TrainingStoppedError: The search is another worker's by now, or SIGTERM came.
        ValueError: As ``train_supernet`` does.
    """
    if config.supernet_training is None:
        return config
    directory = RunDirectory(files.scratch)
    try:
        if not _fetch(files, directory):
            checkpoints = Checkpoints(files, hold=store.hold, get_on=store.get_on)
            _train(config, directory, checkpoints)
            store.hold()
            _publish(files, directory)
            checkpoints.remove(SUPERNET)
    except (ArtifactError, BundleError, ExportError) as error:  # hours of training are worth another try
        raise LeftError(str(error)) from error
    return searched_config(config, directory)


def require_supernet(files: SearchFiles, directory: RunDirectory) -> None:
    """Puts the supernet that a search trained into the folder of a run, where an export looks for it.

    Raises:
        LostSupernetError: It is gone, or damaged.
        ArtifactError: The place does not answer, or there is no room here.
        ExportError: There is no room here.
    """
    if not _fetch(files, directory):
        raise LostSupernetError(
            f"A trial is exported from the supernet that its search trained, but {files.name(SUPERNET)} is not among "
            "the artifacts, or is damaged; restore it from a copy, or run the search again."
        )


def _fetch(files: SearchFiles, directory: RunDirectory) -> bool:
    archive = files.scratch / SUPERNET
    if not files.fetch(SUPERNET, archive):
        return False
    try:
        unpack(archive, directory.supernet_path)
    except BundleError as error:
        LOG.warning("the trained supernet cannot be used: %s", error)
        return False
    finally:
        archive.unlink()
    return True


def _train(config: SearchConfig, directory: RunDirectory, checkpoints: Checkpoints) -> None:
    """Trains, in the folder of the run; from a checkpoint where there is one."""
    folder, archive = directory.supernet_path, checkpoints.file(SUPERNET)
    archive.parent.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        pack(folder, archive)
        checkpoints.publish(SUPERNET)
        archive.unlink()

    LOG.info("training %s as a supernet", config.model.name)
    if checkpoints.fetch(SUPERNET):
        unpack(archive, folder)
        archive.unlink()
    training = training_config_of(config).model_copy(update={"tensorboard": False})  # for which there is no folder
    with TrainingProgress(Console(stderr=True)) as progress:
        train_supernet(training, folder, resume=True, on_step=progress, on_checkpoint=keep)


def _publish(files: SearchFiles, directory: RunDirectory) -> None:
    """What a worker publishes that has lost the lease meanwhile came of the same training as what it replaces."""
    archive = files.scratch / SUPERNET
    pack(directory.supernet_path, archive)
    files.publish(archive, SUPERNET)
    archive.unlink()
