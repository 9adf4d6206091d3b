"""Where files can be: folders, and what fsspec calls file systems."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from nas.artifacts.base import CHUNK_BYTES, ArtifactError, Place

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra that brings what a protocol needs."""


def place_at(root: str) -> Place:
    """A folder, or what fsspec knows by a URL.

    Raises:
        ArtifactError: The URL is none, holds a password, or its package is missing.
    """
    protocol, _, path = root.rpartition("://")
    if not path:
        raise ArtifactError(
            f"Artifacts must go to a folder or a URL such as s3://bucket/prefix, got {root!r}; give one."
        )
    if protocol in {"", "file"}:
        return _Folder(Path(path))
    if "@" in path and ":" in path.partition("@")[0]:
        raise ArtifactError(
            f"A URL of artifacts must hold no password, but one of {protocol}:// does; put credentials into the "
            "environment, where the package for that protocol looks for them."
        )
    try:
        files, below = url_to_fs(root, skip_instance_cache=True)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'nas-llm[{extra}]'" if extra else str(error).rstrip(".")
        raise ArtifactError(f"Artifacts at {protocol}:// need a package that is not here: {remedy}.") from error
    except ValueError as error:
        raise ArtifactError(
            f"Artifacts must go to a folder or to a URL that fsspec knows, such as s3://bucket/prefix, got {root!r} "
            f"({error}); correct it."
        ) from error
    return _Remote(files, below)


class _Folder:
    """Files below a folder. A name appears with its whole content, and both survive a power failure."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def open(self, path: str) -> BinaryIO:
        return (self._root / path).open("rb")

    def move(self, path: str, to: str) -> None:
        target = self._root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).replace(target)
        folder = target.parent
        _sync(folder)
        while folder != self._root:  # each may be new
            folder = folder.parent
            _sync(folder)

    def remove(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

    def remove_below(self, path: str) -> None:
        folder = self._root / path
        while folder.exists():
            with suppress(FileNotFoundError):  # somebody else removes there, too, and was faster with one of the files
                shutil.rmtree(folder)

    def remove_older(self, path: str, moment_s: float) -> None:
        for file in (self._root / path).glob("*"):
            with suppress(FileNotFoundError):  # somebody else was faster
                if file.stat().st_mtime < moment_s:
                    file.unlink()

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()


class _Remote:
    """Files in what fsspec calls a file system."""

    def __init__(self, files: Any, root: str) -> None:
        self._files = files
        self._root = root.rstrip("/")

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        file = self._files.open(self._path(path), "wb")
        try:
            for chunk in chunks:
                file.write(chunk)
            file.close()
        except BaseException:
            for give_up in (file.close, file.discard):  # in this order a half-done upload is known, and then ended
                with suppress(Exception):
                    give_up()
            raise

    def open(self, path: str) -> BinaryIO:
        file: BinaryIO = self._files.open(self._path(path), "rb", block_size=2 * CHUNK_BYTES)
        return file

    def move(self, path: str, to: str) -> None:
        self._files.cp_file(self._path(path), self._path(to))
        with suppress(Exception):  # it is published; what is left has a name that nobody reads
            self.remove(path)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(path))

    def remove_below(self, path: str) -> None:
        self._remove_found(path)

    def remove_older(self, path: str, moment_s: float) -> None:
        self._remove_found(path, lambda found: self._files.modified(found).timestamp() < moment_s)

    def _remove_found(self, path: str, is_meant: Callable[[str], bool] | None = None) -> None:
        self._files.invalidate_cache()  # of listings, which others may have made old
        try:
            for found in self._files.find(self._path(path)):
                with suppress(FileNotFoundError):
                    if is_meant is None or is_meant(found):
                        self._files.rm_file(found)
        finally:
            self._files.invalidate_cache()  # or else ``exists`` would go by this listing from now on

    def exists(self, path: str) -> bool:
        try:
            return bool(self._files.info(self._path(path))["type"] == "file")
        except FileNotFoundError:
            return False

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
