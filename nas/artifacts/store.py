"""Publishing and reading whole files below one root."""

import errno
import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nas.artifacts.base import CHUNK_BYTES, ArtifactError, explained
from nas.artifacts.download import Download
from nas.artifacts.places import place_at

_INCOMING = ".incoming"
LEFT_AFTER_S = 24 * 3600.0
"""So old, what has a temporary name is no upload under way any more."""
_MAX_NAME_BYTES = 512
_FORBIDDEN = frozenset("\\?*[]")
"""What fsspec or an object store may read as something else than a character of a name."""
_ATTEMPTS = 5


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
        self._place = place_at(root)

    def check(self) -> None:
        """Tries to write, so that a wrong place is known before hours were spent on what is to go there.

        Raises:
            ArtifactError: One cannot write there.
        """
        temporary = _temporary_name()
        with explained(f"writing to {self.root}"):
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
        with explained(f"publishing {name!r} to {self.root}"):
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
        with explained(f"reading {name!r} from {self.root}"):
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
        with self.open(name) as published, explained(f"fetching {name!r} from {self.root}"):
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
        with explained(f"removing {name!r} from {self.root}"):
            self._place.remove(name)

    def remove_below(self, folder: str) -> None:
        """Takes back all files whose names begin with a folder's, if there are any.

        Args:
            folder: As a name is, such as ``searches/17/checkpoints``.

        Raises:
            ArtifactError: One cannot list or remove there, or the place does not answer.
        """
        _check_name(folder)
        with explained(f"removing what is below {folder!r} in {self.root}"):
            self._place.remove_below(folder)

    def remove_left(self, *, older_than_s: float = LEFT_AFTER_S) -> None:
        """Removes what uploads left half-way whose process was killed.

        Args:
            older_than_s: Those last written so long ago; a younger one may be under way.

        Raises:
            ArtifactError: One cannot list or remove there, or the place does not answer.
        """
        with explained(f"removing what killed uploads left in {self.root}"):
            self._place.remove_older(_INCOMING, time.time() - older_than_s)

    def exists(self, name: str) -> bool:
        """Whether a file of that name is published.

        Raises:
            ArtifactError: The place does not answer.
        """
        _check_name(name)
        with explained(f"looking for {name!r} in {self.root}"):
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
