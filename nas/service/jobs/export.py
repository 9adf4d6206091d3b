"""Makes a claimed export: the trial's model with its search beside it, as one file among the artifacts."""

import tempfile
from pathlib import Path

from rich.console import Console

from nas.artifacts import ArtifactStore
from nas.config import SearchConfig
from nas.export.bundle import export_bundle, pack
from nas.run import write_run
from nas.service.exports import Exports
from nas.service.jobs.base import Work
from nas.service.searches import Searches


def export_trial(work: Work) -> None:
    """Exports, checks and publishes.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the trial, the model or the artifacts' place.
    """
    searches, exports = Searches(work.database, work.queue), Exports(work.database, work.queue)
    export = exports.get(work.lease.job_id)
    search = searches.get(export.search_id)
    results = searches.results(export.search_id)
    config = SearchConfig.model_validate(search.config)
    with tempfile.TemporaryDirectory(prefix="nas-export-") as scratch:
        run = write_run(
            Path(scratch) / "run",
            config=config,
            environment=search.environment or {},
            trials=results.trials,
            front=results.record,
        )
        folder, archive = Path(scratch) / "model", Path(scratch) / "model.zip"
        export_bundle(run, export.trial, target=export.to, folder=folder, console=Console(stderr=True))
        pack(folder, archive)
        name = f"exports/{export.search_id}/{export.id}/{file_name(config.name, export.trial)}"
        artifact = ArtifactStore(work.artifacts).publish(archive, name)
    with work.queue.guarded(work.lease) as connection:
        exports.complete(connection, work.lease, artifact)


def file_name(search: str, trial: int) -> str:
    """Of a download; a search's name may hold what a file's must not."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in search)
    return f"{plain.strip('-.')[:80] or 'search'}-trial-{trial}.zip"
