"""What all tests share."""

import os
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

# A deadline an example measures the machine, not the code.
settings.register_profile("nas", deadline=None)
settings.load_profile("nas")


def pytest_configure(config: pytest.Config) -> None:
    """Has transformers copy modelling files, before it imports them, to one folder that goes away.

    Set before anything imports transformers, which reads it then, and never changed: where two folders have such files,
    Python looks in the first of them alone.
    """
    folder = TemporaryDirectory(prefix="nas-modules-")
    config.add_cleanup(folder.cleanup)
    os.environ["HF_MODULES_CACHE"] = folder.name
