"""Makes a claimed export: the trial's model with its search beside it, as one file among the artifacts."""

import tempfile
from pathlib import Path

from rich.console import Console

from nas.artifacts import ArtifactStore
from nas.config import SearchConfig
from nas.export.bundle import export_bundle, pack
from nas.new_run import write_run
from nas.recovered import is_recovered
from nas.service.exports import Exports, folder_of
from nas.service.jobs.base import Work
from nas.service.jobs.supernet import require_supernet
from nas.service.search_files import KeptWeights, SearchFiles
from nas.service.searches import Searches
from nas.trained_pruners import TRAINED_PRUNERS
from nas.trial import Trial


def export_trial(work: Work) -> None:
    """Exports, checks and publishes.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the trial, the model or the artifacts' place.
    """
    searches, exports = Searches(work.database, work.queue), Exports(work.database, work.queue)
    export = exports.get(work.lease.job_id)
    search = searches.get(export.search_id)
    digest = exports.digest(export.search_id, export.trial)
    results = searches.results(export.search_id)
    config = SearchConfig.model_validate(search.config)
    artifacts = ArtifactStore(work.artifacts)
    with tempfile.TemporaryDirectory(prefix="nas-export-") as scratch:
        run = write_run(
            Path(scratch) / "run",
            config=config,
            environment=search.environment or {},
            trials=results.trials,
            front=results.record,
        )
        files = SearchFiles(artifacts, export.search_id, Path(scratch))
        if config.supernet_training is not None:
            require_supernet(files, run.directory)
        fetch_weights(KeptWeights(files, run.directory.weights_path), run.trial(export.trial))
        folder, archive = Path(scratch) / "model", Path(scratch) / "model.zip"
        export_bundle(run, export.trial, target=export.to, folder=folder, console=Console(stderr=True))
        pack(folder, archive)
        name = f"{folder_of(export.search_id)}/{export.id}/{file_name(config.name, export.trial)}"
        artifact = artifacts.publish(archive, name)
    with work.queue.guarded(work.lease) as connection:
        exports.complete(connection, work.lease, artifact, digest=digest)


def fetch_weights(kept: KeptWeights, trial: Trial) -> None:
    """Puts the weights that a trial was scored with where an export looks for them, if they were kept.

    Args:
        kept: Those of its search.
        trial: Any; most share the supernet's weights and have none.
    """
    if is_recovered(trial) and kept.fetch(trial.sub_network, "recovered") is not None:
        return  # which is all that an export asks for
    if trial.source in TRAINED_PRUNERS:
        kept.fetch(trial.sub_network, "trained")


def file_name(search: str, trial: int) -> str:
    """Of a download; a search's name may hold what a file's must not."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in search)
    return f"{plain.strip('-.')[:80] or 'search'}-trial-{trial}.zip"
