"""How a training shows its progress: a bar on a terminal, lines elsewhere."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class TrainingStep(Protocol):
    """How a training stands after a step."""

    @property
    def number(self) -> int:
        """Steps done."""

    @property
    def num_steps(self) -> int:
        """Steps in all."""

    @property
    def loss(self) -> float:
        """Of this step."""


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

    def __call__(self, step: TrainingStep) -> None:
        """Shows how training stands: the loss is smoothed over about twenty steps."""
        self._loss = step.loss if self._loss is None else 0.95 * self._loss + 0.05 * step.loss
        self._progress.update(self._task, total=step.num_steps, completed=step.number, loss=f"{self._loss:.4g}")
        every = -(-step.num_steps // 20)
        if not self._console.is_terminal and (step.number % every == 0 or step.number == step.num_steps):
            self._console.print(f"step {step.number}/{step.num_steps} loss {self._loss:.4g}", highlight=False)
