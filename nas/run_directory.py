"""The directory of one run: what was searched, where, and what came of it.

``config.yaml`` (resolved), ``environment.json``, ``trials.db``, ``front.json``, ``report.html``, ``figures/``, and
``supernet/`` where the search trained one, ``weights/`` where it trained sub-networks, ``trainings/`` with the
checkpoint of the training that is going on, ``tensorboard/`` where trainings write scalars. Files appear whole or not
at all: each is written beside its place, synced and renamed. ``config.yaml`` comes last, so a directory that has one is
a run.
"""

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_LOCK = ".lock"
_TRAININGS, _TENSORBOARD = "trainings", "tensorboard"


class RunDirectoryError(ValueError):
    """A run cannot be created, opened or written; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of a run. ``create`` and ``open`` check what the constructor takes on trust.

    Attributes:
        path: The directory.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, *, config_yaml: str, environment: Mapping[str, Any]) -> Self:
        """Makes a new run.

        Args:
            path: A directory that is empty or does not exist.
            config_yaml: The resolved config.
            environment: What ``describe_environment`` found.

        Raises:
            RunDirectoryError: The directory is in use, or it cannot be written to.
        """
        run = cls(path)
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
            run._refuse_if_occupied()
            with run.lock():
                run._refuse_if_occupied()  # another process may have come first
                write_whole(run.environment_path, _to_json(environment))
                write_whole(run.config_path, config_yaml)
        return run

    @classmethod
    def check_creatable(cls, path: Path) -> None:
        """Tries whether a run can be made there, before hours are spent on preparing it. Leaves nothing behind.

        Raises:
            RunDirectoryError: The directory is in use, or it cannot be written to.
        """
        with _explained(path):
            existed = path.exists()
            path.mkdir(parents=True, exist_ok=True)
            cls(path)._refuse_if_occupied()
            with tempfile.TemporaryFile(dir=path):
                pass
            if not existed:
                path.rmdir()

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run.

        Raises:
            RunDirectoryError: There is none at that path, or one of the files it began with is missing or damaged.
        """
        run = cls(path)
        with _explained(path):
            exists = run.config_path.is_file()
        if not exists:
            raise RunDirectoryError(
                f"A run is a folder with a config.yaml that `nas search` wrote, and {path} is none; "
                "give the folder that a search named when it began."
            )
        run.read_config_text()
        run.read_environment()
        return run

    @property
    def config_path(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def environment_path(self) -> Path:
        """Versions, device and seed."""
        return self.path / "environment.json"

    @property
    def trials_path(self) -> Path:
        """The database of trials."""
        return self.path / "trials.db"

    @property
    def front_path(self) -> Path:
        """The Pareto front."""
        return self.path / "front.json"

    @property
    def report_path(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def supernet_path(self) -> Path:
        """The folder of the supernet that the search trained first, where it did."""
        return self.path / "supernet"

    @property
    def figures_path(self) -> Path:
        """The folder of the report's figures."""
        return self.path / "figures"

    @property
    def weights_path(self) -> Path:
        """The folder of weights that belong to sub-networks alone; there only where some were trained."""
        return self.path / "weights"

    @property
    def trainings_path(self) -> Path:
        """The folder of checkpoints; there only while a training goes on, or was interrupted."""
        return self.path / _TRAININGS

    @property
    def tensorboard_path(self) -> Path:
        """The folder of trainings' scalars; there only where they were asked for."""
        return self.path / _TENSORBOARD

    def read_config_text(self) -> str:
        """The resolved config, as YAML.

        Raises:
            RunDirectoryError: It is missing or damaged.
        """
        return self._read(self.config_path)

    def read_environment(self) -> dict[str, Any]:
        """Versions, device and seed.

        Raises:
            RunDirectoryError: The file is missing or damaged.
        """
        return self._read_json(self.environment_path)

    @property
    def is_of_pruning(self) -> bool:
        """Whether `nas prune` made it, which searches nothing that could go on or be repeated.

        Raises:
            RunDirectoryError: The environment is missing or damaged.
        """
        return "pruner" in self.read_environment()

    def read_front(self) -> dict[str, Any]:
        """The front as last written.

        Raises:
            RunDirectoryError: None was written yet, or the file is damaged.
        """
        return self._read_json(self.front_path)

    def write_front(self, front: Mapping[str, Any]) -> None:
        """Replaces the front; a reader finds the old one or the new one, never a part.

        Args:
            front: JSON-ready, without NaN or infinities, which JSON cannot say.

        Raises:
            RunDirectoryError: The disk is full, or the directory cannot be written to.
        """
        with _explained(self.path):
            write_whole(self.front_path, _to_json(front))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from searching in this directory; the system lets go when the process dies.

        Raises:
            RunDirectoryError: Another process holds it, or the directory cannot be written to.
        """
        with _explained(self.path):
            file = (self.path / _LOCK).open("w")
        with file:
            with _explained(self.path):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunDirectoryError(
                        f"Only one process may work in a directory, and another one does in {self.path}; "
                        "wait for it to end, or choose another --out."
                    ) from error
            yield

    def _refuse_if_occupied(self) -> None:
        if self.config_path.exists():
            raise RunDirectoryError(
                f"A new run needs an empty folder, and {self.path} holds a run; go on with it by --resume, or choose "
                "another --out."
            )
        interrupted = {_TRAININGS, _TENSORBOARD}  # of a pruning that began here, and goes on
        if any(entry.name not in {_LOCK, *interrupted} for entry in self.path.iterdir()):
            raise RunDirectoryError(
                f"A new run needs an empty folder, and {self.path} holds other files; choose another --out."
            )

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RunDirectoryError(
                f"{path.name} must be in {self.path}, and it is not there (yet); let the search go on by --resume."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise RunDirectoryError(f"{path} must be readable text, but {error}; restore it from a copy.") from error

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(self._read(path))
        except json.JSONDecodeError as error:
            raise RunDirectoryError(f"{path} must hold JSON, but {error}; restore it from a copy.") from error
        if not isinstance(content, dict):
            raise RunDirectoryError(
                f"{path} must hold a JSON object, got {type(content).__name__}; restore it from a copy."
            )
        return content


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that after a crash at any moment it is as before or as wanted.

    The name stays on the disk only once the directory is synced too.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns the system's errors into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunDirectoryError(
                f"There must be room to write to {path}, but its disk is full; the trials finished so far are kept: "
                "free some space and repeat with --resume."
            ) from error
        raise RunDirectoryError(
            f"A run's folder must be readable and writable, but {path} is not ({error.strerror}); mend that, or choose "
            "another --out."
        ) from error
