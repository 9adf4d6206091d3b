from pathlib import Path

import pytest

from nas.config import ConfigError
from nas.finetuning.config import FinetuneConfig, load_finetune_config, parse_finetune_config

CONFIG = """\
model: some/encoder
task: {classification: {data: train.tsv}}
"""


def test_defaults() -> None:
    config = parse_finetune_config(CONFIG)
    assert (config.model.name, config.model.device) == ("some/encoder", "auto")
    assert (config.task.name, config.task.options) == ("classification", {"data": "train.tsv"})
    assert (config.evaluate, config.epochs, config.max_steps, config.mixed_precision) == (None, 3, None, "no")


def test_the_resolved_config_is_the_same() -> None:
    config = parse_finetune_config(CONFIG + "evaluate: {accuracy: {data: dev.tsv}}")
    assert FinetuneConfig.model_validate(config.model_dump(mode="json")) == config


def test_overrides(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    overrides = ["epochs=1", "model.device=cpu", "mixed_precision=no", "learning_rate=1e-4"]
    config = load_finetune_config(tmp_path / "config.yaml", overrides)
    assert (config.epochs, config.model.device, config.mixed_precision) == (1, "cpu", "no")
    assert config.learning_rate == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must be a YAML mapping with keys such as model and task; see configs/"),
        ("a: [", "A config must be YAML, got a syntax error"),
        ("model: a", "must have the key 'task'"),
        (CONFIG + "epoch: 1", "must hold known keys only, got 'epoch'; did you mean 'epochs'"),
        ("model: {nme: a}\ntask: {}", "must hold known keys only, got 'model.nme'; did you mean 'name'"),
        ("model: a\ntask: {clasification: {}}", "task must be one of classification, .*try 'classification'"),
        ("model: a\ntask: 3", "task must be a kind with options, as .classification: .data: train.tsv.., got 3"),
        (CONFIG + "evaluate: [1]", "evaluate must be an evaluator with options, as .accuracy: .* got .1."),
        (CONFIG + "evaluate: {latency: {}}", "evaluate must be one of accuracy, .* got 'latency'"),
        (
            CONFIG + "evaluate: {token_classification: {}}",
            "evaluate of classification must be accuracy, got 'token_cla",
        ),
        (CONFIG + "epochs: 0", "In the config, epochs: Input should be greater than or equal to 1, got 0"),
        (CONFIG + "learning_rate: .nan", "learning_rate: Input should be"),
        (CONFIG + "warmup_share: 1.5", "warmup_share: Input should be less than or equal to 1, got 1.5"),
        (CONFIG + "mixed_precision: int8", "mixed_precision: Input should be 'no', 'bf16' or 'fp16', got 'int8'"),
    ],
)
def test_bad_configs(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_finetune_config(text)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a readable YAML file, got .*none.yaml .*; check the path"):
        load_finetune_config(tmp_path / "none.yaml")
