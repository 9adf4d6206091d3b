from pathlib import Path

import pytest
import torch

from evaluators.base import EvaluationError, Subject
from evaluators.encoder_tasks.base import Encoded, batched, require_offsets
from evaluators.encoder_tasks.classification import Accuracy
from tests.evaluators import tiny
from tests.evaluators.encoder_tasks import tiny_encoders


def rows(*lengths: int, is_per_token: bool = True) -> list[Encoded]:
    return [
        Encoded(
            inputs={"input_ids": [number + 5] * length, "attention_mask": [1] * length},
            labels={"labels": [number] * length if is_per_token else number},
        )
        for number, length in enumerate(lengths)
    ]


def test_rows_of_like_length_are_padded_together() -> None:
    (first, one), (second, two) = batched(rows(3, 1, 4, 2), tiny_encoders.tokenizer(), batch_size=2)
    assert (first, second) == ([1, 3], [0, 2])
    assert one.inputs["input_ids"].tolist() == [[6, 0], [8, 8]]
    assert one.inputs["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert one.labels["labels"].tolist() == [[1, -100], [3, 3]]
    assert two.inputs["input_ids"].shape == (2, 4)


def test_one_label_a_row_stays_one() -> None:
    ((_, batch),) = batched(rows(3, 1, is_per_token=False), tiny_encoders.tokenizer(), batch_size=2)
    assert torch.equal(batch.labels["labels"], torch.tensor([1, 0]))


def test_a_tokenizer_that_cannot_pad_is_refused() -> None:
    tokenizer = tiny_encoders.tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(EvaluationError, match="Batches need a padding token, got a tokenizer without; set its pad_tok"):
        batched(rows(1), tokenizer, batch_size=1)


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(
        EvaluationError, match=r"need a fast tokenizer, got Slow; load the model with its tokenizer.json"
    ):
        require_offsets(Slow())


def test_a_model_of_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("text\tlabel\nw1\t0\n")
    model = tiny_encoders.bert("question_answering")
    with pytest.raises(EvaluationError, match="sequence-classification head, got BertForQuestionAnswering"):
        Accuracy(data=tmp_path / "data.tsv").evaluate(Subject(model=model, tokenizer=tiny.tokenizer()))
