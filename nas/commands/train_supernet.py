"""`nas train-supernet`: a model trained so that its sub-networks are good as they are, with progress."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nas.supernet_training.config import load_training_config
from nas.train_supernet import train_supernet
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
    console.print(f"Training {config.model.name} as a supernet", highlight=False)
    with TrainingProgress(console) as progress:
        record = train_supernet(config, out, resume=resume, on_step=progress)
    if as_json:
        print(json.dumps(record, indent=2))
    else:
        print(f"Supernet: {out}")
