"""What a place for artifacts is, and what is said where one fails."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

CHUNK_BYTES = 2**22
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ArtifactError(ValueError):
    """A place that cannot be used, or a file that cannot be published or read; the message says what to do."""


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


@contextmanager
def explained(doing: str) -> Iterator[None]:
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
