"""Every encoder task by name, on a few examples and a tiny encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators.encoder_tasks import ENCODER_TASKS, EncoderTask, make_task
from evaluators.inputs import Batch
from tests.evaluators.encoder_tasks import tiny_encoders

LABEL2ID: dict[str, dict[str, int]] = {
    "classification": {"bad": 0, "good": 1},
    "question_answering": {},
    "token_classification": {tag: number for number, tag in enumerate(tiny_encoders.TAGS)},
}


def data(kind: str, folder: Path) -> Path:
    if kind == "classification":
        rows = [{"text": " ".join(["w1"] * (1 + n % 4)), "label": ("bad", "good")[n % 2]} for n in range(10)]
        (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return folder / "data.jsonl"
    return tiny_encoders.write_examples(kind, folder)


@pytest.fixture(params=ENCODER_TASKS)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> EncoderTask:
    return make_task(request.param, data=data(request.param, tmp_path))


def batches(task: EncoderTask, batch_size: int, **options: bool) -> list[Batch]:
    return task.batches(tiny_encoders.tokenizer(), LABEL2ID[task.kind], batch_size=batch_size, **options)


def rows(found: list[Batch]) -> list[Any]:
    """What each example is, whatever stands beside it."""
    unpadded = []
    for batch in found:
        for row, mask_T in enumerate(batch.tokens_BT):
            labels = {
                name: label[row][mask_T].tolist() if label.dim() > 1 else label[row].item()
                for name, label in batch.labels.items()
            }
            unpadded.append(({name: one[row][mask_T].tolist() for name, one in batch.inputs.items()}, labels))
    return sorted(unpadded, key=repr)


def test_label_names_are_those_that_the_model_needs(task: EncoderTask) -> None:
    assert set(task.label_names()) == set(LABEL2ID[task.kind])
    assert len(set(task.label_names())) == len(task.label_names())


def test_batches_hold_every_example_whatever_their_size(task: EncoderTask) -> None:
    single = batches(task, 1)
    assert all(batch.tokens_BT.shape[0] == 1 and batch.tokens_BT.all() for batch in single)
    for size in (2, 3, 100):
        assert rows(batches(task, size)) == rows(single)


def test_the_same_task_gives_the_same_batches(task: EncoderTask) -> None:
    for one, other in zip(batches(task, 3), batches(task, 3), strict=True):
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
        assert all(torch.equal(one.labels[name], other.labels[name]) for name in one.labels)


def test_labels_can_be_left_out(task: EncoderTask) -> None:
    unlabelled = batches(task, 3, labelled=False)
    assert not any(batch.labels for batch in unlabelled)
    assert [inputs for inputs, _ in rows(unlabelled)] == [inputs for inputs, _ in rows(batches(task, 3))]


def test_the_head_computes_a_loss_from_the_labels(task: EncoderTask) -> None:
    model = tiny_encoders.bert(task.kind)
    for batch in batches(task, 4):
        assert model(**batch.inputs, **batch.labels).loss.isfinite()


def test_a_limit_is_kept(task: EncoderTask, tmp_path: Path) -> None:
    few = make_task(task.kind, data=data(task.kind, tmp_path), limit=2)
    assert sum(len(batch.tokens_BT) for batch in batches(few, 1)) == 2
