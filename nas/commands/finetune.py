"""`nas finetune`: an encoder trained on a task, with progress."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nas.finetuning import finetune, load_finetune_config
from nas.tables import measurements_table, print_table
from nas.training_progress import TrainingProgress


def run_finetuning(config_path: Path, *, out: Path, overrides: Sequence[str], as_json: bool, console: Console) -> None:
    """Fine-tunes, prints the scores and says where the model lies.

    Args:
        config_path: The config.
        out: The folder to write; new or empty.
        overrides: ``key=value`` each.
        as_json: Whether to print what ``finetune.json`` holds, and nothing else.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config, the data, the model or the folder.
    """
    config = load_finetune_config(config_path, overrides)
    console.print(f"Fine-tuning {config.model.name}", highlight=False)
    with TrainingProgress(console) as progress:
        done = finetune(config, out, on_step=progress)
    if as_json:
        print(json.dumps(done.record, indent=2))
        return
    if done.scores:
        print_table(measurements_table(done.scores))
    print(f"Model: {done.folder}")
