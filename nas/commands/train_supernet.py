"""`nas train-supernet`: a model trained so that its sub-networks are good as they are, with progress."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.supernet_training.config import load_training_config
from nas.train_supernet import estimate_training, train_supernet
from nas.training_progress import TrainingProgress


def run_training(
    config_path: Path, *, out: Path, overrides: Sequence[str], resume: bool, as_json: bool, console: Console
) -> None:
    """Trains, and says where the supernet lies.

    Args:
        config_path: The config.
        out: The folder to write; new or empty, or with ``resume`` that of the interrupted training.
        overrides: ``key=value`` each.
        resume: Whether to go on with an interrupted training.
        as_json: Whether to print what ``supernet_training.json`` holds, and nothing else.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config, the data, the model or the folder.
    """
    config = load_training_config(config_path, overrides)
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` starts, one speaks
    if is_main:
        console.print(f"Training {config.model.name} as a supernet", highlight=False)
    with TrainingProgress(console) as progress:
        record = train_supernet(config, out, resume=resume, on_step=progress)
    if as_json and is_main:
        print(json.dumps(record, indent=2))
    elif is_main:
        print(f"Supernet: {out}")


def print_estimate(config_path: Path, *, overrides: Sequence[str], as_json: bool) -> None:
    """Prints what a training would train, read and need, without loading a weight.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config or the model.
    """
    config = load_training_config(config_path, overrides)
    found = estimate_training(config)
    numbers = {**asdict(found), "total_bytes": found.total_bytes}
    if as_json:
        print(json.dumps(numbers, indent=2))
        return
    table = Table(title=f"{config.model.name}, before any weight is loaded", title_justify="left", show_header=False)
    for name, number in numbers.items():
        what, _, unit = name.removeprefix("num_").replace("_", " ").rpartition(" ")
        if number is None:
            table.add_row(name.removeprefix("num_"), "as many as the examples have")
        elif unit == "bytes":
            table.add_row(f"{what}, about", f"{number / 2**30:.2f} GiB")
        else:
            table.add_row(name.removeprefix("num_"), f"{number:,}")
    Console().print(table)
