"""`nas rerun`: the same search again, from what its run recorded, and then a comparison."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.commands.search import conclude, run_search
from nas.config import parse_config
from nas.export.bundle import opened_bundle
from nas.rerun import Finding, compare
from nas.run import Run
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.supernet.loading import ModelLoadingError


def rerun(bundle: Path, *, out: Path | None, quiet: bool, console: Console) -> list[Finding]:
    """Repeats a search, and says what agrees and what differs.

    Args:
        bundle: The folder of a run that has ended, of a model exported from one, or a zip file of either.
        out: The new run's folder; None for a new one below ``runs``.
        quiet: Leave out the new front and report.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the run, the folder or the model.
    """
    with opened_bundle(bundle) as recorded:
        before = Run.open(recorded)
        environment = before.directory.read_environment()
        if before.directory.is_of_pruning:
            raise RunDirectoryError(
                f"`nas rerun` repeats searches, but {bundle} holds what `nas prune` made; repeat that command, or give "
                "the run of a search."
            )
        with _model_is_here(before.directory):
            # Whoever recorded the search does not decide where this machine reports to.
            overrides = ["tracking=[]"]
            folder = run_search(
                before.directory.config_path, out=out, overrides=overrides, resume=False, console=console
            )
    if not quiet:
        conclude(folder)
    environments = (environment, RunDirectory.open(folder).read_environment())
    return compare(before, Run.open(folder), environments=environments)


def findings_table(findings: list[Finding]) -> Table:
    """One row each."""
    table = Table(title="The search and its repetition", title_justify="left")
    for heading in ("what", "agrees", "how"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, "yes" if finding.agrees else "no", finding.detail)
    return table


@contextmanager
def _model_is_here(run: RunDirectory) -> Iterator[None]:
    """Says so where the model is a folder that the machine of the search had, and this one has not."""
    name = parse_config(run.read_config_text()).model.name
    if name == "bundled" or "/" not in name or Path(name).exists():
        yield
        return
    missing = (
        f"A search is repeated with the model that it had, from the same place, and there is no folder {name} here; "
        "copy or link the model to that place"
    )
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelLoadingError(f"{missing}.")
    try:
        yield
    except ModelLoadingError as error:  # it may also be an id on the hub
        raise ModelLoadingError(f"{missing}, or, where it is an id on the hub: {error}") from error
