import pytest


@pytest.fixture
def kind() -> str:
    """Jobs take seconds; what they ask of a database is tested on both kinds elsewhere."""
    return "sqlite"
