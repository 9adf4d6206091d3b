"""What calibration examples may be, and which models they are for."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluators.base import EvaluationError
from nas.config import ImportanceConfig, parse_config
from nas.long_work.scalars import ScalarsError
from nas.preparation import (
    PreparationError,
    calibration_examples,
    make_recoverer,
    require_tensorboard_if_asked,
)
from nas.supernet.supernet import Supernet
from tests.evaluators import tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": f"w{i} w1 w2", "label": i % 2}) + "\n" for i in range(6)))
    return path


def importance(data: Path, kind: str = "classification", **options: Any) -> ImportanceConfig:
    return ImportanceConfig.model_validate({"examples": {kind: {"data": str(data), **options}}, "batch_size": 4})


def encoder() -> Supernet:
    return Supernet(tiny.bert(), tiny.tokenizer())


def test_examples_of_a_task_with_labels_and_without(data: Path) -> None:
    batches = calibration_examples(encoder(), importance(data))
    assert [len(batch.tokens_BT) for batch in batches] == [4, 2]
    assert all("labels" in batch.labels for batch in batches)
    unlabelled = importance(data).model_copy(update={"labels": False})
    assert not any(batch.labels for batch in calibration_examples(encoder(), unlabelled))


def test_max_sequences_is_the_limit_of_examples_without_one(data: Path) -> None:
    few = importance(data).model_copy(update={"max_sequences": 3})
    assert sum(len(batch.tokens_BT) for batch in calibration_examples(encoder(), few)) == 3
    own = importance(data, limit=5).model_copy(update={"max_sequences": 3})
    assert sum(len(batch.tokens_BT) for batch in calibration_examples(encoder(), own)) == 5


def test_examples_for_a_model_of_another_kind(data: Path) -> None:
    with pytest.raises(PreparationError, match=r"classification need a model .* got LlamaForCausalLM; give"):
        calibration_examples(Supernet(tiny.llama(), tiny.tokenizer()), importance(data))
    with pytest.raises(PreparationError, match=r"question_answering need a model .*ForQuestionAnswering"):
        calibration_examples(encoder(), importance(data, kind="question_answering"))


def test_examples_for_a_decoder_that_classifies(data: Path) -> None:
    batches = calibration_examples(Supernet(tiny.llama_classifier(), tiny.tokenizer()), importance(data))
    assert [len(batch.labels["labels"]) for batch in batches] == [4, 2]


def test_examples_longer_than_the_context(data: Path) -> None:
    data.write_text(json.dumps({"text": "w1 " * 500, "label": 0}) + "\n")
    with pytest.raises(EvaluationError, match="reads at most max_position_embeddings="):
        calibration_examples(encoder(), importance(data, max_tokens=400))


def test_a_tokenizer_of_more_tokens_than_the_model(data: Path, tmp_path: Path) -> None:
    rule = r"knows the tokens below vocab_size=32, got the token \d+ from the tokenizer beside it; save the model's own"
    small = encoder()
    small.model.resize_token_embeddings(32)
    data.write_text(json.dumps({"text": "w50 w1", "label": 0}) + "\n")
    with pytest.raises(EvaluationError, match=rule):
        calibration_examples(small, importance(data))
    decoder = Supernet(tiny.llama(), tiny.tokenizer())
    decoder.model.resize_token_embeddings(32)
    (tmp_path / "text.txt").write_text(tiny.text(400))
    with pytest.raises(EvaluationError, match=rule):
        calibration_examples(decoder, ImportanceConfig(text=tmp_path / "text.txt", sequence_tokens=16))


def test_examples_without_a_tokenizer(data: Path) -> None:
    with pytest.raises(PreparationError, match="need a tokenizer, and the model has none; save one into its folder"):
        calibration_examples(Supernet(tiny.bert()), importance(data))


def test_spaces_that_cut_heads_take_no_recovery() -> None:
    config = parse_config(
        "{model: bundled, space: {type: intra_attention}, objectives: [perplexity, parameters], trials: 2, "
        "recovery: {type: refit}}"
    )
    supernet = Supernet(tiny.llama(), tiny.tokenizer())
    with pytest.raises(
        PreparationError, match=r"needs whole heads, and the space intra_attention .*refit; set it to none"
    ):
        make_recoverer(config, supernet, [])


@pytest.mark.parametrize(
    ("overrides", "is_asked"),
    [
        ([], False),
        (["recovery={type: lora_distillation, tensorboard: true}"], True),
        (["trained_pruners.grain.tensorboard=true"], True),
        (["trained_pruners.flop.tensorboard=true"], False),  # which the search does not use
    ],
)
def test_what_writes_scalars_is_looked_for_before_hours_of_work(
    overrides: list[str], is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config("{model: x, objectives: [perplexity, parameters], trials: 3}", overrides)
    require_tensorboard_if_asked(config, ["grain", "uniform"])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    if not is_asked:
        require_tensorboard_if_asked(config, ["grain", "uniform"])
        return
    with pytest.raises(ScalarsError, match=r"needs the package tensorboard, .*; pip install 'nas-llm\[tensorboard\]'"):
        require_tensorboard_if_asked(config, ["grain", "uniform"])
