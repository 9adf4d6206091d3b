import pytest
import transformers


@pytest.fixture(autouse=True)
def _no_progress_bars() -> None:
    transformers.utils.logging.disable_progress_bar()
