import json
import math
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from evaluators.base import EvaluationError, Subject
from evaluators.encoder_tasks.entities import entities, entity_counts
from evaluators.encoder_tasks.token_classification import EntityF1, Sentence, TokenClassification, tag_number
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.evaluators.encoder_tasks.tiny_encoders import TAGS

LABEL2ID = {tag: number for number, tag in enumerate(TAGS)}


def subject() -> Subject:
    return Subject(model=tiny_encoders.bert("token_classification"), tokenizer=tiny_encoders.tokenizer())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_encoders.write_examples("token_classification", tmp_path)


def test_agrees_with_tagging_one_by_one(data: Path) -> None:
    model, tokenizer = tiny_encoders.bert("token_classification"), tiny_encoders.tokenizer()
    right = found = gold = 0
    blocks = []
    for number, block in enumerate(data.read_text().split("\n\n")):
        words, tags = zip(*(line.split() for line in block.split("\n") if line), strict=True)
        with torch.no_grad():
            logits = model(**tokenizer(" ".join(words), return_tensors="pt")).logits[0, 1:-1]
        predicted = [TAGS[tag] for tag in logits.argmax(dim=-1)]
        if number % 2:  # a random model is never right, so some sentences get what it says
            tags = tuple(predicted)
        blocks.append("\n".join(f"{word} {tag}" for word, tag in zip(words, tags, strict=True)))
        counts = entity_counts(entities(tags), entities(predicted))
        right, found, gold = right + counts[0], found + counts[1], gold + counts[2]
    data.write_text("\n\n".join(blocks))
    measured = EntityF1(data=data, batch_size=4).evaluate(subject())["entity_f1"]
    assert 0 < right < gold
    assert measured.value == pytest.approx(2 * right / (found + gold))
    assert (measured.n, measured.unit) == (6, "f1")
    assert measured.ci95 is not None
    assert measured.ci95[0] <= measured.value <= measured.ci95[1]


def test_labels_stand_at_the_first_token_of_a_word(data: Path) -> None:
    task = TokenClassification(data=data)
    assert task.label_names() == ("O", *sorted(TAGS[1:]))
    batches = task.batches(tiny_encoders.tokenizer(), LABEL2ID, batch_size=4)
    for batch in batches:
        special_BT = (batch.inputs["input_ids"] <= 3) | ~batch.tokens_BT
        assert ((batch.labels["labels"] == -100) == special_BT).all()
    got = sorted(
        [TAGS[label] for label in row if label >= 0] for batch in batches for row in batch.labels["labels"].tolist()
    )
    assert got == sorted(list(sentence.tags) for sentence in task.sentences())


def test_words_of_several_tokens_and_of_none() -> None:
    """A byte-level tokenizer, whose tokens begin with the space before, and which does not take lists of words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(BPE({letter: number for number, letter in enumerate(letters)}, []))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, pad_token=letters[0])
    task = TokenClassification(data="unused")
    ((row, firsts),) = task.encode(tokenizer, [Sentence(words=("ab", "", "cde", "f"))])
    assert [letters[number] for number in row.inputs["input_ids"]] == list("abĠĠcdeĠf")
    assert firsts == {0: 0, 2: 4, 3: 8}


def test_what_is_cut_off_counts_as_missed(tmp_path: Path) -> None:
    path = tmp_path / "long.conll"
    path.write_text("\n".join(f"w1 {'B-city' if number == 9 else 'O'}" for number in range(10)))
    short = EntityF1(data=path, max_tokens=5).evaluate(subject())["entity_f1"]
    assert short.value == 0.0


def test_a_sentence_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.conll"
    path.write_text("\n".join("w1 B-city" for _ in range(80)))
    with pytest.raises(EvaluationError, match="max_position_embeddings=64 tokens, got 82"):
        EntityF1(data=path).evaluate(subject())


def test_sentences_without_a_token_to_tag_have_no_loss_and_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [{"tokens": [" "], "ner_tags": ["O"]}, {"tokens": ["w1"], "ner_tags": ["B-city"]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    task, tokenizer = TokenClassification(data=path), tiny_encoders.tokenizer()
    (batch,) = task.batches(tokenizer, LABEL2ID, batch_size=1)
    assert batch.labels["labels"].tolist() == [[-100, 1, -100]]
    assert len(task.batches(tokenizer, LABEL2ID, batch_size=1, labelled=False)) == 2
    path.write_text(json.dumps(rows[0]))
    with pytest.raises(
        EvaluationError, match=r"must have a word with a tag, but none of .*data.jsonl has; give another"
    ):
        task.batches(tokenizer, LABEL2ID, batch_size=1)


def test_a_sentence_is_cut_or_refused() -> None:
    words, sentences = tiny_encoders.tokenizer(), [Sentence(words=("w1", "w2"), tags=())]
    [(row, firsts)] = TokenClassification(data="unused", max_tokens=3).encode(words, sentences)
    assert (len(row.inputs["input_ids"]), firsts) == (3, {0: 1})
    with pytest.raises(EvaluationError, match=r"max_tokens must leave room for a text .*, 3 in all, got 2; raise it"):
        TokenClassification(data="unused", max_tokens=2).encode(words, sentences)


def test_unlabelled_sentences_need_no_tags(tmp_path: Path) -> None:
    (tmp_path / "words.conll").write_text("w1\nw2\n\nw3\n")
    task = TokenClassification(data=tmp_path / "words.conll")
    (batch,) = task.batches(tiny_encoders.tokenizer(), {}, batch_size=2, labelled=False)
    assert not batch.labels
    with pytest.raises(EvaluationError, match=r"must have the column 'ner_tags', but one of .* has only 'tokens'"):
        task.batches(tiny_encoders.tokenizer(), LABEL2ID, batch_size=2)


def test_tag_numbers_of_the_hub_become_names(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-city"])),
        }
    )
    loaded = datasets.Dataset.from_list([{"tokens": ["w1", "w2"], "ner_tags": [1, 0]}], features=features)
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: loaded)
    assert TokenClassification(data="someone/ner").sentences() == [Sentence(words=("w1", "w2"), tags=("B-city", "O"))]


@pytest.mark.parametrize("tag", [3, "NN", "B-", "S-city"])
def test_tags_that_are_none_are_refused(tmp_path: Path, tag: Any) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"tokens": ["w1"], "ner_tags": [tag]}))
    with pytest.raises(EvaluationError, match=f"A tag must be O, B-type or I-type, got {tag!r} in"):
        TokenClassification(data=tmp_path / "data.jsonl").label_names()


def test_a_tag_too_few_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"tokens": ["w1", "w2"], "ner_tags": ["O"]}))
    with pytest.raises(EvaluationError, match=r"must have a tag for each word, but one of .* has 2 words and 1 tags"):
        TokenClassification(data=tmp_path / "data.jsonl").sentences()


def test_tags_that_the_model_does_not_know_are_refused(data: Path) -> None:
    with pytest.raises(
        EvaluationError, match=r"one of the model's \(O, B-city.*\), got 'B-cty'; did you mean 'B-city'"
    ):
        tag_number("B-cty", LABEL2ID)
    data.write_text("w1 B-zzz\n")
    with pytest.raises(EvaluationError, match="got 'B-zzz'; use a model trained for these tags"):
        EntityF1(data=data).evaluate(subject())


def test_data_without_an_entity_are_refused(data: Path) -> None:
    data.write_text("w1 O\n")
    with pytest.raises(EvaluationError, match=r"must hold at least one entity, but .* holds none; raise limit or give"):
        EntityF1(data=data).evaluate(subject())


def test_a_model_without_the_head_is_refused(data: Path) -> None:
    model = tiny_encoders.bert("classification")
    model.config.label2id, model.config.id2label = LABEL2ID, dict(enumerate(TAGS))
    with pytest.raises(EvaluationError, match="token-classification head, got BertForSequenceClassification; load it"):
        EntityF1(data=data).evaluate(Subject(model=model, tokenizer=tiny_encoders.tokenizer()))


def test_a_model_without_its_tokenizer_is_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match="Token classification needs a tokenizer, got none"):
        EntityF1(data=data).evaluate(Subject(model=tiny_encoders.bert("token_classification")))


def test_nan_is_an_error(data: Path) -> None:
    broken = subject()
    with torch.no_grad():
        broken.model.classifier.bias[0] = math.nan
    with pytest.raises(EvaluationError, match="logits must be finite, got NaN"):
        EntityF1(data=data).evaluate(broken)


@pytest.mark.parametrize("name", ["max_tokens", "limit", "batch_size"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match=f"{name} must be at least 1, got 0"):
        EntityF1(data="data.conll", **{name: 0})
