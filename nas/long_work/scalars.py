"""TensorBoard scalars, where they are asked for and the package is there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Record = Callable[[int, Mapping[str, float]], None]


class ScalarsError(ValueError):
    """Scalars cannot be written; the message says what is missing."""


def require_tensorboard() -> None:
    """Checks for the package before hours of work.

    Raises:
        ScalarsError: It is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ModuleNotFoundError as error:
        raise ScalarsError(
            "tensorboard: true needs the package tensorboard, and it is not installed; "
            "pip install 'nas-llm[tensorboard]', or set it to false."
        ) from error


@contextmanager
def tensorboard_scalars(folder: Path) -> Iterator[Record]:
    """Yields what records numbers by name after a step.

    Args:
        folder: Of the event files.

    Raises:
        ScalarsError: The package ``tensorboard`` is not installed.
    """
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    writers: list[SummaryWriter] = []

    def record(step: int, scalars: Mapping[str, float]) -> None:
        if not writers:  # what an interrupted training told of this step and later ones is hidden
            writers.append(SummaryWriter(str(folder), purge_step=step))
        for name, value in scalars.items():
            writers[0].add_scalar(name, value, step)

    try:
        yield record
    finally:
        for writer in writers:
            writer.close()
