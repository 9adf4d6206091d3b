"""What the service refuses: too many requests, listening without auth, and models and files that are not for its users.

The rate limit is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371): a bucket of ``burst``
tokens that gains one every ``1 / rate`` seconds is wholly described by the moment at which it will be full again,

    full_at <- max(full_at, now) + 1 / rate        where that is at most now + burst / rate, else wait for the excess.
"""

import math
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

ROUNDING_S = 1e-6
"""A shorter wait is one of rounding, and none."""

_HUB_PART = r"\w(?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"(?:{_HUB_PART}/)?{_HUB_PART}", re.ASCII)


class LimitError(ValueError):
    """A limit that could not be kept to."""


class RefusedError(ValueError):
    """What was asked for is not allowed here; the message says what is."""


class RateLimiter:
    """Requests per second of each key, for any number of threads.

    Args:
        rate_per_s: How many requests a second each key has in the long run.
        burst: How many at once.
        clock: Seconds, never going back.
        max_keys: So many keys are remembered. Those idle for long enough to have their whole burst again are dropped
            without a difference, and beyond that the one that has asked for nothing for longest.

    Raises:
        LimitError: A rate that is not positive and finite, or a burst or number of keys below 1.
    """

    def __init__(
        self,
        rate_per_s: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = 10_000,
    ) -> None:
        if not (math.isfinite(rate_per_s) and rate_per_s > 0):
            raise LimitError(f"A rate must be a positive number of requests a second, got {rate_per_s}; choose 10.")
        if burst < 1 or max_keys < 1:
            raise LimitError(f"burst and max_keys must be at least 1, got {burst} and {max_keys}; choose 20 and 10000.")
        self._interval_s = 1 / rate_per_s
        self._burst = burst
        self._clock = clock
        self._max_keys = max_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def admit(self, key: str) -> float:
        """Counts a request, unless it comes too soon.

        Args:
            key: Whose: the id of a token, or a client's address.

        Returns:
            0 where it is admitted; else the seconds to wait, nothing being counted.
        """
        with self._lock:
            now = self._clock()
            self._drop_idle(now)
            full_at = max(self._full_at.get(key, now), now)
            wait_s = full_at - (self._burst - 1) * self._interval_s - now
            is_admitted = wait_s <= ROUNDING_S
            self._full_at[key] = full_at + self._interval_s if is_admitted else full_at
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._max_keys:
                self._full_at.popitem(last=False)
            return 0.0 if is_admitted else wait_s

    def _drop_idle(self, now: float) -> None:
        """Looks at those that asked longest ago only, so that a request costs the same however many there are."""
        while self._full_at and next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)


def check_bind(host: str, *, has_auth: bool) -> None:
    """Without auth, the service is for this machine alone.

    Args:
        host: The address to listen at. Names other than ``localhost`` are not looked up.
        has_auth: Whether requests need a token.

    Raises:
        RefusedError: It would be open to others.
    """
    if not has_auth and not is_loopback(host):
        raise RefusedError(
            f"Without auth the service must listen at 127.0.0.1, ::1 or localhost only, got {host!r}; choose one of "
            "these, or turn auth on."
        )


def check_model(name: str, roots: Sequence[Path], *, trust_remote_code: bool, allow_remote_code: bool) -> str:
    """Which model a user may have loaded: the bundled one, one of the hub, or a folder that the operator offers.

    Whether a folder elsewhere exists is not told, but for one in the current folder that reads as an id on the hub:
    that is what would be loaded, so it is refused. A process with another current folder has to check again.

    Args:
        name: ``bundled``, ``name`` or ``org/name`` on the hub, or a folder.
        roots: Folders below which folders may be loaded.
        trust_remote_code: Whether the user wants code run that comes with the model.
        allow_remote_code: Whether the operator does.

    Returns:
        What to load: a folder's path without links, anything else as it was.

    Raises:
        RefusedError: Neither of these, or code of strangers.
    """
    if trust_remote_code and not allow_remote_code:
        raise RefusedError(
            "trust_remote_code must be false on this server, got true; choose a model of an architecture that comes "
            "with transformers, or ask the server's operator."
        )
    if name == "bundled" or (_is_hub_id(name) and not os.path.lexists(name)):
        return name
    folder = _resolve(name)
    if folder is None or not _is_below(folder, roots):
        offered = f"or a folder below {' or '.join(map(str, roots))}" if roots else "and no folder on this server"
        raise RefusedError(
            f"A model must be bundled, an id on the hub such as org/name, {offered}, got {name!r}; "
            "choose one of these, or ask the server's operator."
        )
    if not os.path.isdir(folder):  # noqa: PTH112 - of a name that is too long, Path.is_dir makes an OSError
        raise RefusedError(f"A model's folder must exist on the server, got {name!r}; mend its path.")
    return str(folder)


def check_files(config: Mapping[str, Any], roots: Sequence[Path]) -> None:
    """Which files a user may have read: texts, data and tasks below the folders that the operator offers.

    Whatever reads as a path is taken for one, by whichever option it is given: what the options of all evaluators and
    pruners mean is known to them alone, and a task's YAML may hold code. So is what is there by its name in the current
    folder; a process with another one has to check again. What no file is (a task's name, an id on the hub) passes.

    Args:
        config: Of a search or a part of it, as JSON has it. Names in it are skipped, and so are its model, which
            ``check_model`` looks at, and its trackers, which have no places of a user's choice.
        roots: Folders below which files may be read.

    Raises:
        RefusedError: A file elsewhere, or an address.
    """
    for where, text in _texts({key: value for key, value in config.items() if key not in {"model", "tracking"}}):
        if not _is_place(text):
            continue
        path = _resolve(text)
        if path is None or not _is_below(path / "any of it", roots):
            offered = f"be below {' or '.join(map(str, roots))}" if roots else "come with nas: this server offers none"
            raise RefusedError(
                f"Files that a search reads must {offered}, got {text!r} as {where}; leave it out, or ask the "
                "server's operator for --model-root."
            )


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """All texts but names, and where they stand."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key != "name":
                yield from _texts(one, f"{where}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one, where)


def _is_place(text: str) -> bool:
    """Whether a text can lead to a file, or away from this machine."""
    has_marks = any(mark in text for mark in ("/", "\\", "..")) or text.startswith(("~", "."))
    return (has_marks and not _is_hub_id(text)) or os.path.lexists(text)


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own; names other than ``localhost`` are not looked up."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_hub_id(name: str) -> bool:
    """By the hub's rules."""
    return bool(_HUB_ID.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith(".git")


def _is_below(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a path without links is in one of the folders, and none of them itself."""
    return any(Path(os.path.realpath(root)) in path.parents for root in roots)


def _resolve(name: str) -> Path | None:
    """A path without links and dots; None for what is no plain path, or is another one to other programs."""
    if not name.isprintable() or not name or name.startswith("~") or "\\" in name or "://" in name:
        return None
    return Path(os.path.realpath(name))
