"""Finds lm-eval tasks by name and renders their requests: quietly, and with errors that say what to do.

The bundled tasks and the user's own folders are looked into first, which takes milliseconds; lm-eval's index of all
its tasks takes seconds and is read only for a name that is not there.
"""

import io
import logging
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from evaluators.base import EvaluationError

BUNDLED_TASKS = Path(__file__).resolve().parents[1] / "bundled_tasks"

# The builders of `datasets` that read plain files, so that `data_files` are paths and not names in a repository.
_FILE_FORMATS = frozenset({"json", "csv", "text", "parquet", "arrow", "xml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTasks:
    """Tasks with their requests built.

    Attributes:
        tasks: Every task by name, those of the groups included.
        groups: Every group by name, subgroups included.
        members: For each requested name, the tasks and groups that it stands for: itself, or the tasks of a tag.
    """

    tasks: Mapping[str, Task]
    groups: Mapping[str, Group]
    members: Mapping[str, tuple[str, ...]]


@contextmanager
def quiet() -> Iterator[None]:
    """Silences lm-eval's logging and the progress bars of it and of ``datasets``; exceptions pass."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def seeded() -> Iterator[None]:
    """lm-eval's seeds for what its tasks shuffle; Python's and NumPy's generators go on afterwards undisturbed.

    (lm-eval draws a random number even to tell a task's name.)
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def load_tasks(
    names: Sequence[str], include_path: Sequence[Path], *, limit: int | None, num_fewshot: int | None
) -> LoadedTasks:
    """Loads the tasks, groups and tags called ``names`` and builds the requests of their first ``limit`` documents.

    Args:
        names: As lm-eval knows them; nothing is looked up twice.
        include_path: Folders of the user's own YAML files, which go before lm-eval's. Relative ``data_files`` in
            them are relative to the YAML's folder.
        limit: Documents of each task; None for all.
        num_fewshot: Examples in each prompt, except for tasks that insist on none; None for the task's own number.

    Raises:
        EvaluationError: An unknown name, an unreadable YAML, data that cannot be had, or a task that cannot be run.
    """
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    members: dict[str, tuple[str, ...]] = {}
    # `datasets` wants a cache, even for local files: one of our own needs no writable home and is never stale.
    with quiet(), tempfile.TemporaryDirectory() as cache_dir:
        manager = _find(names, include_path, cache_dir)
        for name in names:
            with _explained(name):
                loaded = manager.load([name])
                for task in loaded["tasks"].values():
                    _build_requests(task, limit, num_fewshot)
            tasks |= loaded["tasks"]
            groups |= loaded["groups"]
            is_tag = manager.task_index[name].kind is Kind.TAG
            members[name] = tuple(loaded["tasks"]) if is_tag else (name,)
    return LoadedTasks(tasks=tasks, groups=groups, members=members)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns whatever goes wrong while a task is set up into an EvaluationError."""
    try:
        yield
    except EvaluationError:
        raise
    except ConnectionError as error:
        raise EvaluationError(
            f"The data of task {name!r} must be downloaded once, and the network or the Hugging Face Hub cannot be "
            f"reached ({error}); run it once where there is a network and copy the cache, or use a local YAML."
        ) from error
    except (StopIteration, IndexError) as error:  # of a file, of a split without a row
        raise EvaluationError(f"A task must have examples, and {name!r} has none; fill its data file.") from error
    except Exception as error:  # a task's YAML and code are the user's and fail in every way
        detail = " ".join(str(error).split()) or type(error).__name__
        raise EvaluationError(f"Task {name!r} cannot be set up: {detail}; mend its YAML or its data.") from error


def _find(names: Sequence[str], include_path: Sequence[Path], cache_dir: str) -> TaskManager:
    """A task manager that knows all the names and what they refer to."""
    folders = [BUNDLED_TASKS, *(folder.expanduser().resolve() for folder in include_path)]
    _check_readable(folders)
    manager = TaskManager(include_path=folders, include_defaults=False)
    if not all(_is_complete(name, manager.task_index) for name in names):
        manager = TaskManager(include_path=folders)
    for name in names:
        if name not in manager.task_index:
            nearest = get_close_matches(name, manager.all_tasks, n=3) or manager.all_tasks[:3]
            raise EvaluationError(
                f"A task must be one of lm-eval's, a bundled one or one in include_path, got {name!r}; "
                f"the nearest are {', '.join(nearest)}."
            )
    for entry in manager.task_index.values():
        if entry.yaml_path and any(entry.yaml_path.is_relative_to(folder) for folder in folders):
            _use_own_files(entry, cache_dir)
    return manager


def _check_readable(folders: Sequence[Path]) -> None:
    """lm-eval skips what it cannot read, so that a slip in a YAML would look like an unknown task."""
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"include_path must name folders with lm-eval's YAML files, got {folder}.")
        for path in sorted(folder.glob("**/*.yaml")):
            try:
                load_yaml(path, resolve_func=False)
            except (yaml.YAMLError, ValueError, OSError) as error:
                detail = " ".join(str(error).split())
                raise EvaluationError(f"The task file {path} cannot be read: {detail}; mend it.") from error


def _is_complete(name: str, index: Mapping[str, Entry]) -> bool:
    """Whether the index holds the name and, for a group, all that it refers to."""
    if name not in index:
        return False
    config = index[name].cfg or {}
    if index[name].kind is not Kind.GROUP or not isinstance(config.get("task"), list):
        return True
    children = (child if isinstance(child, str) else child.get("task") for child in config["task"])
    return all(_is_complete(child, index) for child in children if isinstance(child, str))


def _use_own_files(entry: Entry, cache_dir: str) -> None:
    """Gives an entry that reads local files a config with their full paths, in place of its YAML."""
    if entry.kind is Kind.TASK and (entry.cfg or {}).get("dataset_path") in _FILE_FORMATS:
        with _explained(entry.name):
            config = load_yaml(entry.yaml_path)
            kwargs = config.get("dataset_kwargs") or {}
            if "data_files" in kwargs:
                kwargs = kwargs | {"data_files": _absolute(kwargs["data_files"], entry.yaml_path.parent)}
            entry.cfg = config | {"dataset_kwargs": {"cache_dir": cache_dir, "keep_in_memory": True} | kwargs}
            entry.yaml_path = None


def _absolute(data_files: Any, folder: Path) -> Any:
    """``data_files`` (a path, or a list or mapping of such) with relative paths taken from the folder; URLs stay."""
    if isinstance(data_files, Mapping):
        return {split: _absolute(files, folder) for split, files in data_files.items()}
    if isinstance(data_files, list):
        return [_absolute(file, folder) for file in data_files]
    return data_files if "://" in data_files else str(folder / data_files)


def _build_requests(task: Task, limit: int | None, num_fewshot: int | None) -> None:
    """What ``lm_eval.simple_evaluate`` does with a task before it runs it."""
    name = task.task_name
    if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
        raise EvaluationError(
            f"Tasks that run code written by the model, or that need images or sound, are not supported, got {name!r}; "
            f"choose another."
        )
    own_fewshot = task.get_config("num_fewshot")
    if num_fewshot is not None and own_fewshot != 0:
        task.set_config("num_fewshot", num_fewshot)
    elif own_fewshot is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(DEFAULT_OTHER_SEED)
    task.build_all_requests(limit=limit)
