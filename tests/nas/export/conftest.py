import sys
from pathlib import Path

import pytest
import transformers
from transformers import dynamic_module_utils

from nas.export import huggingface
from nas.export.parity import Parity, Reference, compare


@pytest.fixture(autouse=True)
def _own_modules_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers copies modelling files before it imports them: here, to a folder that goes away."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)  # or files beside a modelling file are looked for in an earlier folder
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Checks exports without the new process, which takes five seconds to start."""

    def check(folder: Path, reference: Reference) -> Parity:
        path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
        reference.save(path)
        return compare(folder, Reference.load(path))

    monkeypatch.setattr(huggingface, "check_in_new_process", check)
