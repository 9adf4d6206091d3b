"""The command as a user gives it; what it computes is tested in ``tests/nas/test_train_supernet.py``."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig

from nas.cli import main
from tests.nas.supernet_training.accelerating import fresh_accelerator  # noqa: F401
from tests.nas.test_train_supernet import model, record_of  # noqa: F401

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
CONFIGS = Path(__file__).parents[3] / "configs"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """Gives the arguments to the command line, and returns the exit code."""
    monkeypatch.setattr("sys.argv", ["nas", "train-supernet", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code


def test_the_command(
    model: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """JSON alone on standard output, progress on standard error; what is done stays done."""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(record_of(model)))
    arguments = (tmp_path / "c.yaml", "--out", tmp_path / "out", "--set", "steps=2")
    assert command(monkeypatch, *arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "out" / "supernet_training.json").read_text())
    assert [line.split(" loss")[0] for line in err.splitlines() if line.startswith("step")] == ["step 1/2", "step 2/2"]
    assert command(monkeypatch, *arguments, "--resume") == 0
    assert capsys.readouterr().out == f"Supernet: {tmp_path / 'out'}\n"


LLAMAS = {
    "train_supernet_llama3.2_1b.yaml": (
        1_235_814_400,
        {"num_hidden_layers": 16, "hidden_size": 2048, "head_dim": 64, "intermediate_size": 8192},
        True,
    ),
    "train_supernet_llama3.1_8b.yaml": (
        8_030_261_248,
        {"num_hidden_layers": 32, "hidden_size": 4096, "head_dim": 128, "intermediate_size": 14336},
        False,
    ),
}
"""By config: the published number of parameters, the shape, and whether embeddings are tied."""


@pytest.mark.parametrize("config", LLAMAS)
def test_a_dry_run_of_a_large_model_loads_nothing(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    num_parameters, shape, is_tied = LLAMAS[config]
    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=131072,
        tie_word_embeddings=is_tied,
        **shape,
    ).save_pretrained(tmp_path / "llama")
    arguments = (CONFIGS / config, "--out", tmp_path / "out", "--dry-run", "--set", f"model={tmp_path / 'llama'}")
    assert command(monkeypatch, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_parameters"] == num_parameters
    assert found["num_trained"] < 0.05 * found["num_parameters"]
    assert found["num_tokens"] == 4000 * 16 * 1024
    assert found["total_bytes"] < 80 * 2**30
    assert command(monkeypatch, *arguments) == 0
    assert f"{num_parameters:,}" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("{model: bundled}")
    assert command(monkeypatch, tmp_path / "c.yaml", "--out", tmp_path / "out", "--set", "step=2") == 2
    sentence = "Error: A config must hold known keys only, got 'step'; did you mean 'steps'?\n"
    assert capsys.readouterr() == ("", sentence)
