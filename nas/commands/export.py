"""`nas export`: a trial's model, written for a runtime and checked there, with its search beside it."""

from pathlib import Path

from rich.console import Console

from nas.export.bundle import export_bundle
from nas.run import Run


def export_trial(run_path: Path, number: int, *, target: str, folder: Path, console: Console) -> None:
    """Exports one trial of a run.

    Args:
        run_path: The run.
        number: The trial's.
        target: The runtime.
        folder: To write; must not hold anything yet.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the run, the trial, the model or the folder.
    """
    run = Run.open(run_path)
    report = export_bundle(run, number, target=target, folder=folder, console=console)
    print(f"Exported trial {number} to {report.folder}: {report.num_parameters:,} parameters.")
    print(f"Parity: largest difference of a logit {report.max_abs_difference:.3g}, allowed {report.tolerance:.3g}.")
    print(f"Load it: {report.load_with}")
    if not run.directory.is_of_pruning:
        print(f"Repeat its search: nas rerun {report.folder}")
