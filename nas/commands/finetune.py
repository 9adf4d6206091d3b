"""`nas finetune`: an encoder trained on a task, with progress."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from nas.finetuning import Step, finetune, load_finetune_config
from nas.tables import measurements_table


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
        Console().print(measurements_table(done.scores))
    print(f"Model: {done.folder}")


class TrainingProgress:
    """A bar on a terminal; elsewhere twenty lines in all."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("Training", total=None, loss="–")
        self._loss: float | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, step: Step) -> None:
        """Shows how training stands: the loss is smoothed over about twenty steps."""
        self._loss = step.loss if self._loss is None else 0.95 * self._loss + 0.05 * step.loss
        self._progress.update(self._task, total=step.num_steps, completed=step.number, loss=f"{self._loss:.4g}")
        every = -(-step.num_steps // 20)
        if not self._console.is_terminal and (step.number % every == 0 or step.number == step.num_steps):
            self._console.print(f"step {step.number}/{step.num_steps} loss {self._loss:.4g}", highlight=False)
