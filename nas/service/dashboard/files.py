"""The files that pages load: the dashboard's own, those it shares with the report, and Plotly's script."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import PurePosixPath

from nas.report.static import PLOTLY_VERSION, plotly_script, shared_file

PLOTLY = f"plotly-{PLOTLY_VERSION}.js"
"""Named by its version, so that a browser may keep it for good."""
SHARED = "shared/"
"""Where the report's files are, beside the dashboard's own."""
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
KEPT = "public, max-age=31536000, immutable"
ASKED_FOR_AGAIN = "no-cache"
"""Kept too, but never shown before the server has said that it is still the same."""


@dataclass(frozen=True)
class File:
    """What is sent to a browser.

    Attributes:
        content: As it is.
        media_type: With its encoding.
        cache_control: How long a browser may keep it.
    """

    content: bytes
    media_type: str
    cache_control: str = ASKED_FOR_AGAIN

    @cached_property
    def etag(self) -> str:
        """Changes with the content."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    @cached_property
    def gzipped(self) -> bytes:
        """The content, smaller; the same bytes every time."""
        return gzip.compress(self.content, compresslevel=6, mtime=0)


@cache
def names() -> frozenset[str]:
    """All that may be asked for below ``/static/``."""
    own = {entry.name for entry in resources.files("nas.service.dashboard").joinpath("static").iterdir()}
    shared = {SHARED + entry.name for entry in resources.files("nas.report.static").iterdir()}
    return frozenset(name for name in own | shared if PurePosixPath(name).suffix in MEDIA_TYPES) | {PLOTLY}


@cache
def static_file(name: str) -> File:
    """The file of one of ``names``."""
    if name == PLOTLY:
        return File(plotly_script().encode(), MEDIA_TYPES[".js"], KEPT)
    text = shared_file(name.removeprefix(SHARED)) if name.startswith(SHARED) else own_text("static", name)
    return File(text.encode(), MEDIA_TYPES[PurePosixPath(name).suffix])


@cache
def plotly_styles() -> tuple[str, ...]:
    """Ids of style elements that Plotly's script would add, for maps: it leaves out those that are in the page."""
    return tuple(dict.fromkeys(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly_script())))


def own_text(folder: str, name: str) -> str:
    """A file of this package."""
    return resources.files("nas.service.dashboard").joinpath(folder, name).read_text(encoding="utf-8")
