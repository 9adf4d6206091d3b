"""Runs a claimed search to its end, from the trials that are there."""

import logging
import tempfile
from pathlib import Path

from rich.console import Console

from nas.artifacts import ArtifactStore
from nas.config import SearchConfig
from nas.long_work.checkpoint import CheckpointError, CheckpointWriteError
from nas.long_work.stopping import TrainingStoppedError
from nas.new_run import describe_run
from nas.preparation import load_supernet, prepare
from nas.search import Search
from nas.service.jobs.base import LeftError, Work
from nas.service.jobs.supernet import with_trained_supernet
from nas.service.lease_store import LeaseStore
from nas.service.search_files import SearchFiles
from nas.service.searches import Searches
from nas.tracking.tracking import Tracking
from nas.training_progress import TrainingsProgress

LOG = logging.getLogger(__name__)


def run_search(work: Work) -> None:
    """Searches.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config, the model, the budget or the
            artifacts' place.
        LeftError: A training was stopped, has no room for its checkpoint or got one that does not fit, or the artifacts
            are away when a trained supernet is to go there or to come from there.
    """
    with tempfile.TemporaryDirectory(prefix="nas-search-") as scratch:
        files = SearchFiles(ArtifactStore(work.artifacts), work.lease.search_id, Path(scratch))
        store = LeaseStore(work.database, work.queue, work.lease, files=files)
        try:
            _search(work, store, files)
        except (TrainingStoppedError, CheckpointWriteError) as error:
            raise LeftError(str(error)) from error
        except CheckpointError as error:  # of another version, or of a model that has changed meanwhile
            store.places.forget_all()
            raise LeftError(f"{error} It is removed, and the training begins anew.") from error


def _search(work: Work, store: LeaseStore, files: SearchFiles) -> None:
    search = Searches(work.database, work.queue).get(store.search_id)
    config = SearchConfig.model_validate(search.config)
    if config.supernet_training is not None and search.environment is None:  # which is to be seen while it trains
        store.write_environment(describe_run(config, load_supernet(config.model), search_id=store.search_id))
    searched = with_trained_supernet(config, store, files)
    LOG.info("loading %s and ranking its units", _told(config))
    prepared = prepare(searched)
    environment = describe_run(config, prepared.supernet, search_id=store.search_id)
    store.write_environment(environment)
    LOG.info("searching on %s", environment["device"].get("name"))
    with Tracking(config, environment, confined=True) as tracking:
        watcher = TrainingsProgress(Console(stderr=True))
        tracking.complete(Search(config, prepared, store).run(tracking, watcher))


def _told(config: SearchConfig) -> str:
    """What is searched, for people: not the folder of this process that a trained supernet lies in."""
    return config.model.name if config.supernet_training is None else f"the supernet trained from {config.model.name}"
