"""Keeping what transformers and the hub's client print out of our own output."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hides them until the block is left."""
    showed = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if showed:
            logging.enable_progress_bar()


@contextmanager
def without_hub_warnings() -> Iterator[None]:
    """Hides what the hub's client logs of every attempt at a connection; what it raises after the last says it all."""
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(verbosity)
