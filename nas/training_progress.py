"""How trainings show their progress: bars on a terminal, lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nas.long_work.stopping import never


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
    """One training: a bar on a terminal; elsewhere twenty lines in all."""

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


class TrainingsProgress:
    """Trainings within a search: a bar for each on a terminal; elsewhere a line when it begins, and one when it ends.

    Nobody asks a training to stop through it.

    Args:
        console: Where to show it.
    """

    must_stop = staticmethod(never)

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._last: TrainingStep | None = None

    def begins(self, what: str) -> Callable[[TrainingStep], None]:
        """See ``Watcher``."""
        self._last = None
        progress = self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        task = progress.add_task(what, total=None, loss="")
        if not self._console.is_terminal:
            self._say(what)
        progress.start()

        def on_step(step: TrainingStep) -> None:
            self._last = step
            progress.update(task, completed=step.number, total=step.num_steps, loss=f"loss {step.loss:.4g}")

        return on_step

    def breaks_off(self) -> None:
        """See ``Watcher``."""
        if self._progress is not None:
            self._progress.stop()

    def ends(self, what: str, *, problem: str = "") -> None:
        """See ``Watcher``."""
        self.breaks_off()
        last = self._last
        steps = (
            "no step taken" if last is None else f"{last.number} of {last.num_steps} steps, last loss {last.loss:.4g}"
        )
        self._say(f"{what}: {steps}" + (f" | {problem}" if problem else ""))

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
