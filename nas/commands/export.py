"""`nas export`: a trial's model, written for a runtime and checked there."""

from pathlib import Path

from rich.console import Console

from nas.config import SearchConfig, parse_config
from nas.export import check_request, export
from nas.preparation import calibration_examples, load_supernet, make_recoverer
from nas.run import Run
from nas.supernet.output_weights import OutputWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


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
    config = parse_config(run.directory.read_config_text())
    console.print(f"Loading {config.model.name}", highlight=False)
    supernet = load_supernet(config.model)
    weights = recovered_weights(config, supernet, trial.sub_network, console=console)
    console.print(f"Exporting trial {number} and loading it again in a new process", highlight=False)
    report = export(
        supernet, trial.sub_network, target=target, folder=folder, measurements=trial.measurements, weights=weights
    )
    print(f"Exported trial {number} to {report.folder}: {report.num_parameters:,} parameters.")
    print(f"Parity: largest difference of a logit {report.max_abs_difference:.3g}, allowed {report.tolerance:.3g}.")
    print(f"Load it: {report.load_with}")


def recovered_weights(
    config: SearchConfig, supernet: Supernet, sub_network: SubNetwork, *, console: Console
) -> OutputWeights | None:
    """The weights that a trial was scored with, computed again from the config; None where nothing was recovered."""
    if config.recovery.type == "none" or sub_network.is_full:
        return None
    console.print(f"Recovering by {config.recovery.type}, as in the trial", highlight=False)
    recover = make_recoverer(config, supernet, calibration_examples(supernet, config.importance))
    return None if recover is None else recover(sub_network)
