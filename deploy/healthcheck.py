"""Whether a container of the image is healthy, by what its first process is.

Where that is `nas serve`, ``/readyz`` must answer with 200. Any other command is well as long as it runs: a worker has
nothing to ask, and its leases tell the service when it dies. Needs nothing but Python.

Usage: python healthcheck.py [PID]; the process is 1 by default. Exit code 0 where it is healthy, else 1 and a sentence.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePath

TIMEOUT_S = 4.0
DEFAULTS = {"--host": "127.0.0.1", "--port": "8000"}
"""Those of `nas serve`."""
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server that listens everywhere can be asked."""


def ready_url(command: Sequence[str]) -> str | None:
    """Where a process can be asked whether it is ready; None where it does not serve.

    Args:
        command: Its arguments, also with an interpreter or an init before `nas`.
    """
    names = [PurePath(word).name for word in command]
    if "nas" not in names:
        return None
    arguments = list(command[names.index("nas") + 1 :])
    if next((word for word in arguments if not word.startswith("-")), None) != "serve":
        return None
    given = dict(DEFAULTS)
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in given:
            given[name] = value if equals else "".join(arguments[place + 1 : place + 2])
    host = ANY_ADDRESS.get(given["--host"], given["--host"])
    return f"http://{f'[{host}]' if ':' in host else host}:{given['--port']}/readyz"


def command_of(pid: int) -> list[str]:
    """The arguments that a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]


def main(arguments: Sequence[str]) -> str | None:
    """What is wrong; None where nothing is."""
    try:
        url = ready_url(command_of(int(arguments[0]) if arguments else 1))
        if url is None:
            return None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (OSError, ValueError) as error:
        return f"nas serve does not answer: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
