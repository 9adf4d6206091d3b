"""`nas rerun`: the same search again, from what its run recorded, and then a comparison."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.commands.search import conclude, refuse_pruning, run_search
from nas.rerun import Finding, compare
from nas.run import Run
from nas.run_directory import RunDirectory


def rerun(run: Path, *, out: Path | None, quiet: bool, console: Console) -> list[Finding]:
    """Repeats a search, and says what agrees and what differs.

    Args:
        run: The folder of a run that has ended.
        out: The new run's folder; None for a new one below ``runs``.
        quiet: Leave out the new front and report.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the run, the folder or the model.
    """
    before = Run.open(run)
    refuse_pruning(before.directory)
    folder = run_search(before.directory.config_path, out=out, overrides=[], resume=False, console=console)
    if not quiet:
        conclude(folder)
    environments = (before.directory.read_environment(), RunDirectory.open(folder).read_environment())
    return compare(before, Run.open(folder), environments=environments)


def findings_table(findings: list[Finding]) -> Table:
    """One row each."""
    table = Table(title="The search and its repetition", title_justify="left")
    for heading in ("what", "agrees", "how"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, "yes" if finding.agrees else "no", finding.detail)
    return table
