"""`nas submit`, and `nas export` from a service: a config goes there, a model comes back."""

import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nas.client import Client
from nas.config import load_config
from nas.export.base import refuse_used
from nas.export.bundle import unpack


def submit_config(client: Client, config: Path, *, overrides: Sequence[str], key: str | None) -> str:
    """Submits a config file, checked here first.

    Args:
        client: Of the service.
        config: The file.
        overrides: ``key=value`` each.
        key: The same one gives the same search; None for a new one.

    Raises:
        ConfigError: The file is no config.
        ServiceError: The service refuses it.
    """
    resolved = load_config(config, overrides).model_dump(mode="json")
    return client.submit(resolved, idempotency_key=key or secrets.token_hex(16))


def fetch_export(client: Client, search_id: str, number: int, *, target: str, folder: Path) -> None:
    """Has the service export a trial, and puts the files into a folder here.

    Args:
        client: Of the service.
        search_id: Which search.
        number: The trial's.
        target: The runtime.
        folder: To write; must not hold anything yet.

    Raises:
        ExportError: The folder is in use or cannot be written to.
        ServiceError: The export failed.
    """
    refuse_used(folder)
    export = client.export(search_id, number, to=target)
    with tempfile.TemporaryDirectory(prefix="nas-export-") as scratch:
        unpack(client.download(export["id"], Path(scratch) / "model.zip"), folder)
    print(f"Exported trial {number} to {folder}; README.md there says how to load it.")
