"""Bundles: an exported model and the search that it came from, in a folder or in one zip file.

``search/`` beside the model's files is the run's folder: config, environment, trials and front, all that it takes to
run the search again. Equal folders make equal zip files: entries are in order, and all of one time and permission.
"""

import shutil
import sqlite3
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from rich.console import Console

from nas.config import SearchConfig, parse_config
from nas.export import check_request, export
from nas.export.base import ExportError, ExportReport, explained, published
from nas.export.weights import weights_of
from nas.preparation import gather_evidence, load_supernet, order_directions, order_supernet
from nas.results import refuse_failed
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.store.trial_store import uri_for_reading
from nas.supernet.supernet import Supernet
from nas.train_supernet import searched_config

SEARCH = "search"
"""The folder of the run in that of a model."""
RUN_FILES = ("config.yaml", "environment.json", "front.json", "trials.db")
MAX_RUN_BYTES = 2**30
"""A trial takes a few kilobytes."""
_STORED = frozenset({".safetensors", ".pt"})
"""What compressing would take long for, and win little of."""
_ONE_TIME = (1980, 1, 1, 0, 0, 0)
_ONE_PERMISSION = (stat.S_IFREG | 0o644) << 16
_UNIX = 3


class BundleError(ValueError):
    """What should hold a search does not, or holds what none should; the message says what to give instead."""


def export_bundle(run: Run, number: int, *, target: str, folder: Path, console: Console) -> ExportReport:
    """Exports one trial of a run, checks it, and puts the search beside it.

    Args:
        run: The run.
        number: The trial's.
        target: The runtime.
        folder: To write; must not hold anything yet. It appears with all files, or not at all.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the trial, the model or the folder.
    """
    trial = run.trial(number)
    refuse_failed(number, trial.state, trial.reason)
    check_request(target, folder)
    config = parse_config(run.directory.read_config_text())
    console.print(f"Loading {config.model.name}", highlight=False)
    config = searched_config(config, run.directory)
    supernet = load_supernet(config.model)
    if trial.sub_network.ranks_LM is not None or trial.sub_network.bands is not None:
        _order_as_scored(supernet, config, is_of_pruning=run.directory.is_of_pruning)
    weights = weights_of(run, trial, config, supernet, console=console)
    console.print(f"Exporting trial {number} and loading it again in a new process", highlight=False)
    return export(
        supernet,
        trial.sub_network,
        target=target,
        folder=folder,
        measurements=trial.measurements,
        weights=weights,
        add=lambda files: add_search(files, run.directory),
    )


def _order_as_scored(supernet: Supernet, config: SearchConfig, *, is_of_pruning: bool) -> None:
    """Directions come out of sums over units, whose rounding goes by the order that the units lie in."""
    evidence = gather_evidence(supernet, config)
    if is_of_pruning:  # which leaves units in their original order
        order_directions(supernet, config.importance, evidence.batches)
    else:
        order_supernet(supernet, config, evidence)


def add_search(folder: Path, run: RunDirectory) -> None:
    """Copies a run into the folder of a model.

    Args:
        folder: The model's; without ``search/``.
        run: It may be one that is still written to: the front comes first, so that no trial of it is missing.

    Raises:
        ExportError: The run's database cannot be copied.
        OSError: A file cannot be copied; ``published`` explains that.
    """
    copy = RunDirectory(folder / SEARCH)
    copy.path.mkdir()
    for source, target in (
        (run.config_path, copy.config_path),
        (run.environment_path, copy.environment_path),
        (run.front_path, copy.front_path),
    ):
        shutil.copyfile(source, target)
    _copy_database(run.trials_path, copy.trials_path)


def pack(folder: Path, archive: Path) -> None:
    """Puts a folder into a zip file, which appears whole or not at all. Weights and checkpoints are stored as they are.

    Args:
        folder: With plain files and folders in it.
        archive: To write; outside the folder.

    Raises:
        ExportError: There is no room, or the folder holds a link.
    """
    partial = archive.with_name(f".{archive.name}.tmp")
    with explained(archive):
        try:
            with zipfile.ZipFile(partial, "w") as packed:
                for path in sorted(folder.rglob("*")):
                    _pack_file(packed, path, path.relative_to(folder).as_posix())
            partial.replace(archive)
        finally:
            partial.unlink(missing_ok=True)


def unpack(archive: Path, folder: Path) -> None:
    """Puts all files of a bundle into a folder, which appears whole or not at all.

    Args:
        archive: As ``pack`` wrote it.
        folder: To write; new or empty.

    Raises:
        BundleError: The archive is none, or a file that none should be.
        ExportError: The folder is in use, or cannot be written to.
    """
    with published(folder) as staging, _readable(archive), zipfile.ZipFile(archive) as packed:
        _refuse_strange(archive, [entry for entry in packed.infolist() if not entry.is_dir()])
        packed.extractall(staging)


@contextmanager
def opened_bundle(path: Path) -> Iterator[Path]:
    """The folder of a run, for as long as the block lasts.

    Args:
        path: That folder itself, the folder of an exported model with ``search/`` in it, or a zip file of either.

    Raises:
        BundleError: It is none of these, or a file that none should be.
    """
    with _readable(path):
        is_folder, is_file = path.is_dir(), path.is_file()
        places = [place for place in (path, path / SEARCH) if is_folder and (place / RUN_FILES[0]).is_file()]
    if is_folder and places:
        yield places[0]
        return
    if not is_file:
        raise BundleError(
            f"A run is a folder that `nas search` wrote, the folder of an exported model with {SEARCH}/ in it, or a "
            f"zip file of either, and {path} is none; give one of these."
        )
    with tempfile.TemporaryDirectory(prefix="nas-bundle-") as scratch:
        with _readable(path):
            _unpack(path, Path(scratch))
        yield Path(scratch)


def _copy_database(source: Path, target: Path) -> None:
    """Copies a database as it is between two transactions, into one file that can be read where nothing is writable."""
    try:
        with (
            closing(sqlite3.connect(uri_for_reading(source), uri=True)) as read,
            closing(sqlite3.connect(target)) as written,
        ):
            read.backup(written)
            written.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ExportError(
            f"An export must be able to copy {source}, but the database says: {error}; free some space if the disk is "
            "full, else restore the run from a copy."
        ) from error


def _pack_file(packed: zipfile.ZipFile, path: Path, name: str) -> None:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise ExportError(f"A bundle must be made of plain files, and {path} is none; put the file itself there.")
    if path.is_dir():
        return
    entry = zipfile.ZipInfo(name, date_time=_ONE_TIME)
    entry.create_system, entry.external_attr = _UNIX, _ONE_PERMISSION
    entry.compress_type = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
    entry.file_size = path.stat().st_size  # says whether the entry needs 64 bits
    with path.open("rb") as file, packed.open(entry, "w") as target:
        shutil.copyfileobj(file, target, 2**20)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the run's files alone, under names of our own."""
    with zipfile.ZipFile(archive) as packed:
        entries = [entry for entry in packed.infolist() if not entry.is_dir()]
        _refuse_strange(archive, entries)
        by_name = {entry.filename: entry for entry in entries}
        beginning = _beginning_of_run(archive, by_name)
        wanted = {name: by_name[beginning + name] for name in RUN_FILES}
        num_bytes = sum(entry.file_size for entry in wanted.values())
        if num_bytes > MAX_RUN_BYTES:
            raise BundleError(
                f"A search in a zip file must have at most {MAX_RUN_BYTES} bytes, and that in {archive} has "
                f"{num_bytes}; unpack it yourself and give the folder, if you trust it."
            )
        for name, entry in wanted.items():
            with packed.open(entry) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)


def _refuse_strange(archive: Path, entries: Collection[zipfile.ZipInfo]) -> None:
    """Checks what no bundle has, whether it is asked for or not: whoever made that means no good, or something else."""
    seen: set[str] = set()
    for entry in entries:
        name = PurePosixPath(entry.filename)
        problem = ""
        if not name.parts or name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in name.parts[0]:
            problem = "lies outside the folder that it is unpacked to"
        elif stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG}:
            problem = "is a link or a device"
        elif entry.flag_bits & 1:
            problem = "is encrypted"
        elif entry.filename in seen:
            problem = "is there twice"
        if problem:
            raise BundleError(
                f"A bundle must hold plain files below one folder, and {entry.filename[:80]!r} in {archive} {problem}; "
                "get the bundle from whoever exported it."
            )
        seen.add(entry.filename)


def _beginning_of_run(archive: Path, names: Collection[str]) -> str:
    """What comes before the names of the run's files."""
    first = RUN_FILES[0]
    beginnings = [
        name.removesuffix(first) for name in names if PurePosixPath(name).name == first and name.count("/") <= 2
    ]
    whole = [beginning for beginning in beginnings if all(beginning + name in names for name in RUN_FILES)]
    if len(whole) != 1:
        raise BundleError(
            f"A bundle must hold one search: {', '.join(RUN_FILES)} in {SEARCH}/ or at its top; {archive} holds "
            f"{len(whole)}; unpack it and give the folder of a run, or export the trial again."
        )
    return whole[0]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into a sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BundleError(
            f"A bundle must be an intact zip file, but {path} is not ({error}); copy it again, or give a folder."
        ) from error
    except OSError as error:
        raise BundleError(
            f"A bundle must be readable, and there must be room to unpack it, but with {path}: {error}; mend that."
        ) from error


__all__ = ["BundleError", "add_search", "export_bundle", "opened_bundle", "pack", "unpack"]
