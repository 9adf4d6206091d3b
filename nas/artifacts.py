"""Files for others to fetch, such as exported models, in a folder or in an object store: each whole, or not there.

A file goes to a temporary name first (``.incoming/…`` below the root), is read back and compared by size and SHA-256,
and only then takes its name. What a process leaves under a temporary name when it is killed is read by nobody, and goes
when ``remove_left`` is called a day later. (Parts of an upload to S3 that was never ended have no name at all: a rule
of the bucket, AbortIncompleteMultipartUpload, ends them.)

Folders are written here; everything else goes through fsspec, with the credentials that its packages find in the
environment (for S3: ``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on).
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

from fsspec.core import url_to_fs

CHUNK_BYTES = 2**22
_INCOMING = ".incoming"
LEFT_AFTER_S = 24 * 3600.0
"""So old, what has a temporary name is no upload under way any more."""
_MAX_NAME_BYTES = 512
_FORBIDDEN = frozenset("\\?*[]")
"""What fsspec or an object store may read as something else than a character of a name."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra that brings what a protocol needs."""
_ATTEMPTS = 5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ArtifactError(ValueError):
    """A place that cannot be used, or a file that cannot be published or read; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A published file.

    Attributes:
        name: Below the store's root.
        url: Where it is, root and name; a path where the root is a folder.
        num_bytes: Its size.
        sha256: Of its content, as 64 hexadecimal digits.
    """

    name: str
    url: str
    num_bytes: int
    sha256: str


class Place(Protocol):
    """Where files are. Paths are relative, with slashes; every method may raise whatever the place raises."""

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes a new file; when this returns, it is kept. What is left of it after an error may be anything."""

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading. Whatever takes its name later, this reads what was there or fails with EBUSY."""

    def move(self, path: str, to: str) -> None:
        """Gives a file another name, in place of what had it: at every moment that name has the old or the new."""

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""

    def remove_below(self, path: str) -> None:
        """Removes all files below a folder, if there are any."""

    def remove_older(self, path: str, moment_s: float) -> None:
        """Removes the files in a folder that were last written before a moment (seconds since 1970), if any."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""


class Download:
    """A published file, open for reading. It is closed after use, by ``with`` or by reading ``chunks`` to the end.

    Attributes:
        num_bytes: Its size.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        try:
            self.num_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            self._first = file.read(min(CHUNK_BYTES, self.num_bytes))  # so that what cannot be read is known at once
        except BaseException:
            file.close()
            raise

    def chunks(self) -> Iterator[bytes]:
        """Its content from the beginning, ``num_bytes`` bytes in all.

        Raises:
            ArtifactError: The place stopped answering, or another file has taken the name meanwhile.
        """
        num_left, chunk = self.num_bytes, self._first
        with self:
            while num_left:
                if not chunk:
                    raise ArtifactError(
                        f"{self._name!r} must have {self.num_bytes} bytes, but the place ended it {num_left} bytes "
                        "before that; read it again."
                    )
                num_left -= len(chunk)
                yield chunk
                with _explained(f"reading {self._name!r}"):
                    chunk = self._file.read(min(CHUNK_BYTES, num_left))

    def close(self) -> None:
        """Releases it; more than once is once."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ArtifactStore:
    """Published files below one root. Several processes may share it.

    Attributes:
        root: As it was given.

    Args:
        root: A folder, made when it is first written to, or a URL that fsspec knows, such as ``s3://bucket/prefix``.

    Raises:
        ArtifactError: The URL is none, holds a password, or its package is missing.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or root
        self._place = _place(root)

    def check(self) -> None:
        """Tries to write, so that a wrong place is known before hours were spent on what is to go there.

        Raises:
            ArtifactError: One cannot write there.
        """
        temporary = _temporary_name()
        with _explained(f"writing to {self.root}"):
            try:
                self._place.write(temporary, [b"-"])
            finally:
                self._remove(temporary)

    def publish(self, file: Path, name: str) -> Artifact:
        """Copies a file there. Whoever reads ``name`` finds what had that name before, or the whole new file.

        Args:
            file: A local file.
            name: Below the root, with slashes between folders, such as ``exports/17.zip``.

        Raises:
            ArtifactError: The name is none, there is no room or no permission, the place does not answer, or what
                arrived there is something else; then nothing has changed.
        """
        _check_name(name)
        temporary = _temporary_name()
        with _explained(f"publishing {name!r} to {self.root}"):
            try:
                sent = _Digest()
                self._place.write(temporary, sent.of(_chunks_of(file)))
                with Download(self._place.open(temporary), name) as arrived:
                    stored = _Digest()
                    for _ in stored.of(arrived.chunks()):
                        pass
                if stored.found != sent.found:
                    raise ArtifactError(
                        f"A file must arrive as it was sent, but of {name!r} {sent.num_bytes} bytes with SHA-256 "
                        f"{sent.sha256} were sent to {self.root} and {stored.num_bytes} bytes with {stored.sha256} "
                        "arrived; nothing was published: try again, and check that place if it happens twice."
                    )
                self._place.move(temporary, name)
            except BaseException:
                self._remove(temporary)
                raise
        return Artifact(name=name, url=f"{self.root}/{name}", num_bytes=sent.num_bytes, sha256=sent.sha256)

    def open(self, name: str) -> Download:
        """A published file, to be read.

        Raises:
            ArtifactError: There is none of that name, or the place does not answer.
        """
        _check_name(name)
        with _explained(f"reading {name!r} from {self.root}"):
            if not self._place.exists(name):
                raise ArtifactError(
                    f"A file must be published before it can be read, and {name!r} is not in {self.root}; publish it "
                    "again, or restore it from a copy."
                )
            return self._opened(name)

    def fetch(self, name: str, file: Path) -> None:
        """Copies a published file here, where it appears whole or not at all.

        Args:
            name: Of what is published.
            file: To write; its folder is made where there is none.

        Raises:
            ArtifactError: There is none of that name, no room here, or the place does not answer.
        """
        partial = file.with_name(f".{file.name}.tmp")
        with self.open(name) as published, _explained(f"fetching {name!r} from {self.root}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as written:
                    for chunk in published.chunks():
                        written.write(chunk)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Takes a file back, if it is published.

        Raises:
            ArtifactError: One cannot remove there, or the place does not answer.
        """
        _check_name(name)
        with _explained(f"removing {name!r} from {self.root}"):
            self._place.remove(name)

    def remove_below(self, folder: str) -> None:
        """Takes back all files whose names begin with a folder's, if there are any.

        Args:
            folder: As a name is, such as ``searches/17/checkpoints``.

        Raises:
            ArtifactError: One cannot list or remove there, or the place does not answer.
        """
        _check_name(folder)
        with _explained(f"removing what is below {folder!r} in {self.root}"):
            self._place.remove_below(folder)

    def remove_left(self, *, older_than_s: float = LEFT_AFTER_S) -> None:
        """Removes what uploads left half-way whose process was killed.

        Args:
            older_than_s: Those last written so long ago; a younger one may be under way.

        Raises:
            ArtifactError: One cannot list or remove there, or the place does not answer.
        """
        with _explained(f"removing what killed uploads left in {self.root}"):
            self._place.remove_older(_INCOMING, time.time() - older_than_s)

    def exists(self, name: str) -> bool:
        """Whether a file of that name is published.

        Raises:
            ArtifactError: The place does not answer.
        """
        _check_name(name)
        with _explained(f"looking for {name!r} in {self.root}"):
            return self._place.exists(name)

    def _opened(self, name: str) -> Download:
        """A store asks for the size first and for the content next; between the two the file may be replaced."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return Download(self._place.open(name), name)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
        return Download(self._place.open(name), name)

    def _remove(self, temporary: str) -> None:
        """Removes what nobody sees; where that fails, something else has failed already, and is told."""
        with suppress(Exception):
            self._place.remove(temporary)


class _Digest:
    """Size and SHA-256 of what passes through."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._hash = hashlib.sha256()

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.num_bytes += len(chunk)
            self._hash.update(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def found(self) -> tuple[int, str]:
        return self.num_bytes, self.sha256


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
        with suppress(FileNotFoundError):
            shutil.rmtree(self._root / path)

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


def _place(root: str) -> Place:
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


def _check_name(name: str) -> None:
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or parts[0] == _INCOMING:
        raise ArtifactError(
            f"An artifact's name must be a relative path such as exports/17.zip, without empty parts, '.' and '..' and "
            f"not in {_INCOMING}, got {name!r}; give another."
        )
    if not name.isprintable() or _FORBIDDEN & set(name) or len(name.encode()) > _MAX_NAME_BYTES:
        raise ArtifactError(
            f"An artifact's name must be printable, without {' '.join(sorted(_FORBIDDEN))}, and of at most "
            f"{_MAX_NAME_BYTES} bytes, got {name[:80]!r}; give another."
        )


def _temporary_name() -> str:
    return f"{_INCOMING}/{uuid.uuid4().hex}"


def _chunks_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turns errors of the system and of a place's package, which has its own kinds of them, into sentences."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(f"A place for artifacts must be usable, but {doing} failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"there is no room ({detail}); free some space, or raise the limit, and try again."
    if isinstance(error, OSError) and error.errno == errno.EBUSY:
        return f"another file has taken its name meanwhile ({detail}); read it again."
    if isinstance(error, FileNotFoundError):
        return f"there is no such place ({detail}); make the bucket or folder, or correct the name."
    if isinstance(error, PermissionError):
        return f"it is not allowed ({detail}); give this user, or the credentials in the environment, the right to."
    return f"{detail}; check the place, the network and the credentials in the environment, and try again."


__all__ = ["Artifact", "ArtifactError", "ArtifactStore", "Download"]
