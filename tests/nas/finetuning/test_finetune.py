import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from evaluators import make_evaluator
from evaluators.base import EvaluationError, Subject
from evaluators.encoder_tasks.base import Kind
from evaluators.encoder_tasks.classification import Accuracy
from nas.bundled import BUNDLED_MODEL
from nas.export.base import ExportError
from nas.finetuning import FinetuningError, finetune
from nas.supernet.supernet import Supernet
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.nas.finetuning import encoders
from tests.nas.supernet.tiny_models import tiny_model


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No progress bars of ``save_pretrained``; accelerate keeps the precision of a process's first Accelerator."""
    transformers_logging.disable_progress_bar()
    yield
    transformers_logging.enable_progress_bar()
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("kind", "head", "score"),
    [
        ("classification", "BertForSequenceClassification", "accuracy"),
        ("question_answering", "BertForQuestionAnswering", "f1"),
        ("token_classification", "BertForTokenClassification", "entity_f1"),
    ],
)
def test_a_plain_encoder_learns_a_task_and_a_supernet_loads_it(
    tmp_path: Path, kind: str, head: str, score: str
) -> None:
    config = encoders.config(tmp_path, kind)
    done = finetune(config, tmp_path / "out")
    assert done.scores[score].value == 1.0
    supernet = Supernet.load(tmp_path / "out", device="cpu")
    assert type(supernet.model).__name__ == head
    assert config.evaluate is not None
    evaluator = make_evaluator(config.evaluate.name, **config.evaluate.options)
    again = evaluator.evaluate(Subject(model=supernet.model, tokenizer=supernet.tokenizer))
    assert again == done.scores
    assert json.loads((tmp_path / "out" / "finetune.json").read_text()) == done.record


def test_the_folder_loads_elsewhere_and_names_its_labels(tmp_path: Path) -> None:
    config = encoders.config(tmp_path)
    done = finetune(config, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "bad", 1: "good"}
    with torch.no_grad():
        classes = model(**tokenizer(["w10 w1", "w10 w2"], return_tensors="pt")).logits.argmax(dim=-1)
    assert classes.tolist() == [0, 1]
    assert done.record["labels"] == ["bad", "good"]
    assert done.record["training"]["num_steps"] == 12 * 8
    assert done.record["training"]["final_loss"] < done.record["training"]["first_loss"]
    assert done.record["scores"]["accuracy"]["n"] == 64
    assert done.record["environment"]["packages"]["accelerate"]
    assert done.record["config"] == config.model_dump(mode="json")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.safetensors", "tokenizer.json"}


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = encoders.config(tmp_path, seed=seed, max_steps=3)
        torch.manual_seed(len(weights))
        before = torch.random.get_rng_state()
        finetune(config, tmp_path / name)
        assert torch.equal(torch.random.get_rng_state(), before)
        tuned: Any = Supernet.load(tmp_path / name, device="cpu").model
        weights.append(tuned.classifier.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_head_of_its_own_keeps_its_numbers_of_labels(tmp_path: Path) -> None:
    model = tiny_encoders.bert("classification")
    model.config.id2label, model.config.label2id = {0: "good", 1: "bad"}, {"good": 0, "bad": 1}
    config = encoders.config(tmp_path, learning_rate=1e-12, max_steps=1)
    model.save_pretrained(tmp_path / "encoder")
    finetune(config, tmp_path / "out")
    tuned: Any = Supernet.load(tmp_path / "out", device="cpu").model
    assert tuned.config.label2id == {"good": 0, "bad": 1}
    torch.testing.assert_close(tuned.classifier.weight, model.classifier.weight)


def test_a_head_for_other_labels_is_replaced(tmp_path: Path) -> None:
    config = encoders.config(tmp_path, max_steps=1)
    BertForSequenceClassification(tiny_encoders.config(num_labels=5)).save_pretrained(tmp_path / "encoder")
    finetune(config, tmp_path / "out")
    tuned: Any = Supernet.load(tmp_path / "out", device="cpu").model
    assert tuned.config.label2id == {"bad": 0, "good": 1}
    assert tuned.classifier.weight.shape == (2, 32)


@pytest.mark.parametrize("name", ["distilbert", "roberta"])
def test_other_encoders_train_too(tmp_path: Path, name: str) -> None:
    config = encoders.config(tmp_path, "question_answering", max_steps=2)
    tiny_model(name).save_pretrained(tmp_path / "encoder")
    tokenizer = tiny_encoders.tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "encoder")
    finetune(config, tmp_path / "out")
    assert type(Supernet.load(tmp_path / "out", device="cpu").model).__name__.endswith("ForQuestionAnswering")


def test_bad_data_show_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("text\tlabel\nw1\tgod\n")
    config = encoders.config(tmp_path, evaluate={"accuracy": {"data": str(tmp_path / "dev.tsv")}})
    steps: list[Any] = []
    with pytest.raises(
        EvaluationError, match=r"must be a class of the model \(bad, good\), got 'god'; did you mean 'goo"
    ):
        finetune(config, tmp_path / "out", on_step=steps.append)
    assert not steps
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        ("classification", "dev.tsv", "text\tlabel\n" + "w1 " * 80 + "\tgood\n", "at most max_position_emb.* got 82"),
        ("token_classification", "dev.conll", "w1 O\nw2 O\n", "at least one entity, but .* holds none"),
    ],
)
def test_data_that_could_not_be_scored_show_before_the_training(
    tmp_path: Path, kind: Kind, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    evaluator = {"classification": "accuracy"}.get(kind, kind)
    config = encoders.config(tmp_path, kind, evaluate={evaluator: {"data": str(tmp_path / name)}})
    steps: list[Any] = []
    with pytest.raises(EvaluationError, match=message):
        finetune(config, tmp_path / "out", on_step=steps.append)
    assert not steps


def test_a_model_that_cannot_be_scored_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Accuracy, subject: Subject) -> None:
        raise EvaluationError("The logits must be finite, got NaN; load the model in float32.")

    monkeypatch.setattr(Accuracy, "evaluate", fail)
    config = encoders.config(tmp_path, evaluate={"accuracy": {"data": str(tmp_path / "data.tsv")}})
    with pytest.raises(
        FinetuningError, match=r"is trained and lies in .*out, but could not be scored: The logits must"
    ):
        finetune(config, tmp_path / "out")
    assert Supernet.load(tmp_path / "out", device="cpu").shape.num_layers > 0


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    config = encoders.config(tmp_path)
    (tmp_path / "data.tsv").write_text("text\tlabel\nw1\tgood\n")
    with pytest.raises(FinetuningError, match="must hold at least two classes, got 'good' alone; give another file or"):
        finetune(config, tmp_path / "out")


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    config = encoders.config(tmp_path, model=str(BUNDLED_MODEL))
    with pytest.raises(FinetuningError, match="needs an encoder such as bert, got 'llama'; choose another model"):
        finetune(config, tmp_path / "out")


def test_an_encoder_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_model("bert").save_pretrained(tmp_path / "bare")
    config = encoders.config(tmp_path, model=str(tmp_path / "bare"))
    with pytest.raises(FinetuningError, match=r"needs a tokenizer, and .*bare has none; save one into its folder"):
        finetune(config, tmp_path / "out")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"needs a new or empty folder, and .* is in use; choose another --out"):
        finetune(encoders.config(tmp_path), tmp_path)
