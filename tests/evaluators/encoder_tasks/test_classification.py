import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from scipy.stats import binomtest

from evaluators.base import EvaluationError, Subject
from evaluators.encoder_tasks.classification import Accuracy, Classification, class_number, wilson_interval
from tests.evaluators import tiny
from tests.evaluators.encoder_tasks import tiny_encoders

NAMES = {"bad": 0, "good": 1}


def examples(number: int) -> list[dict[str, Any]]:
    words = tiny.text(1000).split()
    return [
        {"text": " ".join(words[start : start + 3 + start % 5]), "label": start % 2}
        for start in range(0, number * 3, 3)
    ]


def subject(**labels: Any) -> Subject:
    return Subject(model=tiny.bert(**labels), tokenizer=tiny.tokenizer())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, examples(50))))
    return path


def test_agrees_with_classifying_one_by_one(data: Path) -> None:
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    correct = sum(
        model(**tokenizer(row["text"], return_tensors="pt")).logits.argmax().item() == row["label"]
        for row in examples(50)
    )
    measured = Accuracy(data=data, batch_size=8).evaluate(subject())["accuracy"]
    assert 0 < correct < 50
    assert (measured.value, measured.unit, measured.n) == (correct / 50, "accuracy", 50)
    assert measured.ci95 == wilson_interval(correct, 50)


def test_every_file_format_reads_the_same(data: Path, tmp_path: Path) -> None:
    rows = examples(50)
    expected = Accuracy(data=data).evaluate(subject())
    for suffix, separator in (("csv", ","), ("tsv", "\t")):
        path = tmp_path / f"data.{suffix}"
        path.write_text("\n".join([f"text{separator}label", *(f"{r['text']}{separator}{r['label']}" for r in rows)]))
        assert Accuracy(data=str(path)).evaluate(subject()) == expected


def test_pairs_and_column_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("premise\thypothesis\tgold\nw1 w2\tw3\t0\nw4\tw5 w6 w7\t1\n")
    evaluator = Accuracy(data=path, text_column="premise", second_text_column="hypothesis", label_column="gold")
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    pairs = (("w1 w2", "w3", 0), ("w4", "w5 w6 w7", 1))
    correct = sum(model(**tokenizer(a, b, return_tensors="pt")).logits.argmax().item() == y for a, b, y in pairs)
    assert evaluator.evaluate(subject())["accuracy"].value == correct / 2


def test_the_data_are_read_once(data: Path) -> None:
    evaluator, once = Accuracy(data=data), subject()
    first = evaluator.evaluate(once)
    data.unlink()
    assert evaluator.evaluate(once) == first


def test_a_limit_draws_the_same_examples_each_time(data: Path) -> None:
    one, two = (Accuracy(data=data, limit=10).evaluate(subject())["accuracy"] for _ in range(2))
    assert one == two
    assert one.n == 10


def test_a_dataset_of_the_hub(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        asked.append((args, kwargs))
        return examples(50)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    measured = Accuracy(data="someone/reviews", subset="short", split="test").evaluate(subject())
    assert asked == [(("someone/reviews", "short"), {"split": "test"})]
    assert measured == Accuracy(data=data).evaluate(subject())


def test_a_dataset_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: Any, **kwargs: Any) -> None:
        raise FileNotFoundError("no such dataset")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(
        EvaluationError, match=r"data must be a .tsv or .csv or .jsonl or .txt file or a dataset of the Hub; here/"
    ):
        Accuracy(data="here/nothing").evaluate(subject())


def test_a_dataset_that_is_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found trec.py")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(
        EvaluationError, match=r"loaded as one \(Dataset scripts .* trec.py\); check the name, or give a"
    ):
        Accuracy(data="some/trec").evaluate(subject())


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (5, 5), (3, 7), (512, 1000)])
def test_the_interval_agrees_with_scipy(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("label", "expected"), [(1, 1), ("0", 0), ("good", 1), (" good ", 1), (0.0, 0)])
def test_labels_are_names_or_numbers(label: Any, expected: int) -> None:
    assert class_number(label, label2id=NAMES, num_classes=2) == expected


def test_a_number_used_as_a_name_is_a_name() -> None:
    assert class_number("1", label2id={"1": 0, "0": 1}, num_classes=2) == 0


def test_labels_that_are_no_class() -> None:
    with pytest.raises(EvaluationError, match=r"must be a class of the model \(bad, good\), got 'goood'; did you mean"):
        class_number("goood", label2id=NAMES, num_classes=2)
    with pytest.raises(EvaluationError, match="got 'entailment'; set label2id in the model's config"):
        class_number("entailment", label2id=NAMES, num_classes=2)
    with pytest.raises(EvaluationError, match="between 0 and 1, since the model has 2 classes, got 2"):
        class_number(2, label2id=NAMES, num_classes=2)
    for label in (0.7, math.inf, math.nan, [1], None):
        with pytest.raises(EvaluationError, match=r"must be a class of the model \(bad, good\), got"):
            class_number(label, label2id=NAMES, num_classes=2)


def test_a_missing_column_is_named(data: Path) -> None:
    with pytest.raises(
        EvaluationError, match=r"must have the column 'sentence', but one of .* has only 'text', 'label'"
    ):
        Accuracy(data=data, text_column="sentence").evaluate(subject())


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\n")
    with pytest.raises(EvaluationError, match="must hold at least one example"):
        Accuracy(data=tmp_path / "data.csv").evaluate(subject())


def test_a_model_without_a_classification_head_is_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match="sequence-classification head, got LlamaForCausalLM"):
        Accuracy(data=data).evaluate(Subject(model=tiny.llama(), tokenizer=tiny.tokenizer()))


def test_a_decoder_with_a_classification_head(data: Path) -> None:
    """It looks for the last token before padding, so it must know what that is."""
    one_by_one = Accuracy(data=data, batch_size=1)
    classifier = Subject(model=tiny.llama_classifier(), tokenizer=tiny.tokenizer())
    assert Accuracy(data=data, batch_size=8).evaluate(classifier) == one_by_one.evaluate(classifier)
    unpadded = Subject(model=tiny.llama_classifier(pad_token_id=None), tokenizer=tiny.tokenizer())
    assert one_by_one.evaluate(unpadded) == one_by_one.evaluate(classifier)
    with pytest.raises(EvaluationError, match="its config has no pad_token_id; set it there, or score with batch_size"):
        Accuracy(data=data, batch_size=8).evaluate(unpadded)


def test_a_text_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text(f"text\tlabel\n{tiny.text(80)}\t1\n")
    with pytest.raises(EvaluationError, match="max_position_embeddings=64 tokens, got 80"):
        Accuracy(data=path).evaluate(subject())
    assert Accuracy(data=path, max_tokens=64).evaluate(subject())["accuracy"].n == 1


def test_a_model_without_its_tokenizer_is_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match="Accuracy needs a tokenizer, got none"):
        Accuracy(data=data).evaluate(Subject(model=tiny.bert()))


def test_nan_is_an_error(data: Path) -> None:
    broken = subject()
    with torch.no_grad():
        broken.model.classifier.bias[0] = math.nan
    with pytest.raises(EvaluationError, match="logits must be finite, got NaN"):
        Accuracy(data=data).evaluate(broken)


@pytest.mark.parametrize("name", ["max_tokens", "limit", "batch_size"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match=f"{name} must be at least 1, got 0"):
        Accuracy(data="data.csv", **{name: 0})


def hub(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], names: list[str]) -> None:
    """A dataset as the Hub would give it: class numbers, and what they stand for."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    dataset = datasets.Dataset.from_list(rows, features=features)
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: dataset)


def test_the_classes_of_the_hub_are_matched_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, [{"text": "w1", "label": 0}, {"text": "w2", "label": 1}], ["good", "bad"])
    task = Classification(data="someone/reviews")
    table = task.table()
    numbers = [row["label"] for row in table.rows]
    assert task.label_names() == ("good", "bad")
    for label2id, expected in (
        ({"Bad": 0, "GOOD": 1}, [1 - number for number in numbers]),
        ({"LABEL_0": 0, "LABEL_1": 1}, numbers),
    ):
        assert task.classes(table, label2id=label2id, num_classes=2) == expected


def test_a_hidden_label_of_the_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, [{"text": "w1", "label": -1}], ["bad", "good"])
    with pytest.raises(EvaluationError, match="between 0 and 1, since the model has 2 classes, got -1"):
        Classification(data="someone/reviews").batches(tiny.tokenizer(), NAMES, batch_size=2)


def test_trec_labels_end_at_the_colon(tmp_path: Path) -> None:
    coarse, fine = tmp_path / "train.txt", tmp_path / "test.txt"
    coarse.write_bytes("LOC:where is caf\xe9 w1 ?\r\nNUM:count the w2\r\n".encode("latin-1"))
    fine.write_text("NUM:dist How far is w1 : w2 ?\nLOC:city Where ?\n")
    for path, expected in (
        (coarse, {("LOC", "where is café w1 ?"), ("NUM", "count the w2")}),
        (fine, {("NUM", "How far is w1 : w2 ?"), ("LOC", "Where ?")}),
    ):
        task = Classification(data=path)
        assert {(row["label"], row["text"]) for row in task.table().rows} == expected
        assert task.label_names() == ("LOC", "NUM")


def test_label_names_are_sorted_as_numbers_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("text\tlabel\n" + "\n".join(f"w1\t{number}" for number in (10, 2, 0, 2)))
    assert Classification(data=path).label_names() == ("0", "2", "10")


def test_an_example_without_a_label_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("text\tlabel\nw1\t\n")
    with pytest.raises(EvaluationError, match=r"must have a label, but one of .*data.tsv has none; use a labelled"):
        Classification(data=path).label_names()


def test_labels_may_be_negative_and_have_spaces_around(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("text\tlabel\nw1\t-1\nw2\t1 \n")
    task = Classification(data=path)
    assert task.label_names() == ("-1", "1")
    [batch] = task.batches(tiny.tokenizer(), {"-1": 0, "1": 1}, batch_size=2)
    assert sorted(batch.labels["labels"].tolist()) == [0, 1]


@pytest.mark.parametrize(("second", "needed"), [(None, 3), ("text", 5)])
def test_a_text_is_cut_or_refused(data: Path, second: str | None, needed: int) -> None:
    """With too few tokens a tokenizer cuts nothing."""
    words = tiny_encoders.tokenizer()
    task = Classification(data=data, second_text_column=second, max_tokens=needed)
    assert {batch.inputs["input_ids"].shape[1] for batch in task.batches(words, NAMES, batch_size=4)} == {needed}
    with pytest.raises(EvaluationError, match=rf"leave room for a text .*, {needed} in all, got {needed - 1}; raise"):
        replace(task, max_tokens=needed - 1).batches(words, NAMES, batch_size=4)


@pytest.mark.parametrize("limit", [1.5, True, "3"])
def test_counts_are_whole_numbers(data: Path, limit: Any) -> None:
    with pytest.raises(EvaluationError, match=f"limit must be a whole number, got {limit!r}; give one"):
        Accuracy(data=data, limit=limit)


def test_batches_give_the_loss_of_each_example(data: Path) -> None:
    model, tokenizer = tiny_encoders.bert("classification"), tiny_encoders.tokenizer()
    batches = Classification(data=data).batches(tokenizer, NAMES, batch_size=8)
    assert [len(batch.labels["labels"]) for batch in batches] == [8] * 6 + [2]
    total = sum(len(batch.labels["labels"]) * model(**batch.inputs, **batch.labels).loss.item() for batch in batches)
    singly = sum(
        model(**tokenizer(row["text"], return_tensors="pt"), labels=torch.tensor([row["label"]])).loss.item()
        for row in examples(50)
    )
    assert total == pytest.approx(singly, rel=1e-5)


def test_unlabelled_batches_need_no_label_column(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("text\nw1 w2\nw3\n")
    task = Classification(data=tmp_path / "data.tsv")
    (batch,) = task.batches(tiny_encoders.tokenizer(), {}, batch_size=2, labelled=False)
    assert not batch.labels
    assert batch.tokens_BT.sum(dim=1).tolist() == [3, 4]
    with pytest.raises(EvaluationError, match="must have the column 'label', but one of"):
        task.batches(tiny_encoders.tokenizer(), NAMES, batch_size=2)


def test_labels_out_of_range_are_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match="between 0 and 0, since the model has 1 classes, got 1"):
        Classification(data=data).batches(tiny.tokenizer(), {"only": 0}, batch_size=8)


def test_an_example_without_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("text\tlabel\nw1\t1\n\t0\n")
    with pytest.raises(EvaluationError, match="Every example must hold at least one token, got a row that is padding"):
        Accuracy(data=tmp_path / "data.tsv").evaluate(subject())


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(EvaluationError, match="seed must be at least 0, got -1"):
        Classification(data="data.tsv", seed=-1)
