"""A published file that is being read."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

from nas.artifacts.base import CHUNK_BYTES, ArtifactError, explained


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
                with explained(f"reading {self._name!r}"):
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
