from pathlib import Path

import pytest
import transformers

from nas.export import huggingface
from nas.export.parity import Parity, Reference, compare


@pytest.fixture(autouse=True)
def _no_progress_bars() -> None:
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Checks exports without the new process, which takes five seconds to start."""

    def check(folder: Path, reference: Reference) -> Parity:
        path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
        reference.save(path)
        return compare(folder, Reference.load(path))

    monkeypatch.setattr(huggingface, "check_in_new_process", check)
