"""`nas export`: a trial's model, written for a runtime and checked there."""

from pathlib import Path

from rich.console import Console

from nas.config import parse_config
from nas.export import check_request, export
from nas.run import Run
from nas.supernet.supernet import Supernet


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
    trial = run.trial(number)
    check_request(target, folder)
    model = parse_config(run.directory.read_config_text()).model
    console.print(f"Loading {model.name}", highlight=False)
    supernet = Supernet.load(
        model.name,
        dtype=model.dtype,
        revision=model.revision,
        device=model.device,
        trust_remote_code=model.trust_remote_code,
    )
    console.print(f"Exporting trial {number} and loading it again in a new process", highlight=False)
    report = export(supernet, trial.sub_network, target=target, folder=folder, measurements=trial.measurements)
    print(f"Exported trial {number} to {report.folder}: {report.num_parameters:,} parameters.")
    print(f"Parity: largest difference of a logit {report.max_abs_difference:.3g}, allowed {report.tolerance:.3g}.")
    print(f"Load it: {report.load_with}")
