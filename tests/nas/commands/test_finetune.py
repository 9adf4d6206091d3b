"""The command as a user gives it; what it computes is tested in ``tests/nas/finetuning``."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState
from rich.console import Console
from transformers.utils import logging as transformers_logging

from nas.cli import main
from nas.commands.finetune import run_finetuning
from tests.nas.finetuning import encoders


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    transformers_logging.disable_progress_bar()
    yield
    transformers_logging.enable_progress_bar()
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    record = encoders.config(tmp_path, max_steps=4).model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    return tmp_path / "config.yaml"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """Gives the arguments to the command line, and returns the exit code."""
    monkeypatch.setattr("sys.argv", ["nas", "finetune", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code


def test_the_command(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON alone on standard output, progress on standard error."""
    assert command(monkeypatch, config, "--out", tmp_path / "out", "--set", "max_steps=2", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "out" / "finetune.json").read_text())
    assert [line.split(" loss")[0] for line in err.splitlines()[-2:]] == ["step 1/2", "step 2/2"]


def test_what_is_wrong_is_one_sentence(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, config, "--out", tmp_path / "out", "--set", "epoch=2") == 2
    sentence = "Error: A config must hold known keys only, got 'epoch'; did you mean 'epochs'?\n"
    assert capsys.readouterr() == ("", sentence)


def test_a_table_for_people(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO())
    run_finetuning(config, out=tmp_path / "out", overrides=[], as_json=False, console=console)
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert shown.endswith(f"Model: {tmp_path / 'out'}\n")
