import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators.base import EvaluationError, Subject
from evaluators.encoder_tasks.answers import is_exact, max_f1
from evaluators.encoder_tasks.question_answering import AnswerF1, QuestionAnswering
from tests.evaluators.encoder_tasks import tiny_encoders

SMALL: dict[str, Any] = {"max_tokens": 20, "stride_tokens": 5}


def subject() -> Subject:
    return Subject(model=tiny_encoders.bert("question_answering"), tokenizer=tiny_encoders.tokenizer())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_encoders.write_examples("question_answering", tmp_path)


def rewritten(data: Path, number: int, **columns: Any) -> Path:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[number] |= columns
    data.write_text("\n".join(map(json.dumps, rows)))
    return data


def test_windows_cover_the_context_and_label_the_answer_where_it_is_whole(data: Path) -> None:
    tokenizer = tiny_encoders.tokenizer()
    task = QuestionAnswering(data=data, **SMALL)
    questions = task.questions()
    windows = task.windows(tokenizer, questions)
    batches = task.batches(tokenizer, {}, batch_size=1)
    rows = [
        (batch.inputs["input_ids"][0].tolist(), *(batch.labels[f"{end}_positions"].item() for end in ("start", "end")))
        for batch in batches
    ]
    for number, question in enumerate(questions):
        mine = [window for window in windows if window.question == number]
        seen = {span for window in mine for span in window.spans_T if span is not None}
        assert [question.context[start:end] for start, end in sorted(seen)] == question.context.split()
        wanted = tokenizer(question.answers[0][0], add_special_tokens=False)["input_ids"] if question.answers else []
        for window in mine:
            ids = list(window.row.inputs["input_ids"])
            labels = [(first, last) for row_ids, first, last in rows if row_ids == ids]
            context = ids[ids.index(3) :]
            holds = wanted and any(context[i : i + 2] == wanted for i in range(len(context)))
            assert len(labels) == 1
            first, last = labels[0]
            assert ids[first : last + 1] == (wanted if holds else [2])


def test_no_label_lies_in_a_window_that_cuts_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    context = " ".join(f"w{number}" for number in range(10))
    row = {"question": "w50", "context": context, "answers": {"text": ["w3 w4 w5"], "answer_start": [9]}}
    path.write_text(json.dumps(row))
    task = QuestionAnswering(data=path, max_tokens=9, stride_tokens=1)  # [CLS] w50 [SEP], 5 words, [SEP]
    first, *rest = task.windows(tiny_encoders.tokenizer(), task.questions())
    assert [context[span[0] : span[1]] for span in first.spans_T if span] == ["w0", "w1", "w2", "w3", "w4"]
    for batch in task.batches(tiny_encoders.tokenizer(), {}, batch_size=1):
        ids, begin = batch.inputs["input_ids"][0].tolist(), batch.labels["start_positions"].item()
        assert begin == 0, "no window holds w3 to w5"
        assert batch.labels["end_positions"].item() == 0
        assert len(ids) <= 9
    assert len(rest) == 2


def test_agrees_with_answering_window_by_window(data: Path) -> None:
    """A second path: one window at a time, all spans in a loop."""
    model, tokenizer = tiny_encoders.bert("question_answering"), tiny_encoders.tokenizer()
    scores = []
    for row in map(json.loads, data.read_text().splitlines()):
        words, best, null = row["context"].split(), (-math.inf, ""), math.inf
        asked, room = row["question"].split(), 20 - 3 - 2
        for begin in range(0, len(words) - 5, room - 5):
            window = words[begin : begin + room]
            encoding = tokenizer(row["question"], " ".join(window), return_tensors="pt")
            with torch.no_grad():
                outputs = model(**encoding)
            start, end, offset = outputs.start_logits[0], outputs.end_logits[0], len(asked) + 2
            null = min(null, (start[0] + end[0]).item())
            for i, j in itertools.product(range(len(window)), repeat=2):
                if 0 <= j - i < 6:
                    score = (start[offset + i] + end[offset + j]).item()
                    best = max(best, (score, " ".join(window[i : j + 1])))
        answer = "" if null > best[0] else best[1]
        scores.append((max_f1(answer, row["answers"]["text"]), is_exact(answer, row["answers"]["text"])))
    measured = AnswerF1(data=data, **SMALL, max_answer_tokens=6, batch_size=3).evaluate(subject())
    assert measured["f1"].value == pytest.approx(sum(f1 for f1, _ in scores) / 4)
    assert measured["exact_match"].value == sum(exact for _, exact in scores) / 4
    assert (measured["f1"].n, measured["f1"].unit) == (4, "f1")


def perfect(monkeypatch: pytest.MonkeyPatch, data: Path, *, null: float) -> Subject:
    """A model that points at the right spans with logit 2, and at [CLS] with ``null``."""
    wanted = {}
    task = QuestionAnswering(data=data, **SMALL)
    for batch in task.batches(tiny_encoders.tokenizer(), {}, batch_size=1):
        wanted[tuple(batch.inputs["input_ids"][0].tolist())] = batch.labels
    model = tiny_encoders.bert("question_answering")

    def forward(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        ids_BT = inputs["input_ids"]
        outputs = {f"{end}_logits": torch.zeros(ids_BT.shape) for end in ("start", "end")}
        for row, (ids_T, mask_T) in enumerate(zip(ids_BT, inputs["attention_mask"], strict=True)):
            labels = wanted[tuple(ids_T[mask_T.bool()].tolist())]
            for end in ("start", "end"):
                outputs[f"{end}_logits"][row, labels[f"{end}_positions"].item()] = 2.0
                outputs[f"{end}_logits"][row, 0] = null
        return outputs

    monkeypatch.setattr(model, "forward", forward)
    return Subject(model=model, tokenizer=tiny_encoders.tokenizer())


def test_no_answer_wins_where_it_scores_higher(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    evaluator = AnswerF1(data=data, **SMALL)
    right = evaluator.evaluate(perfect(monkeypatch, data, null=1.0))
    assert right["f1"].value == right["exact_match"].value == 1.0
    assert right["f1"].ci95 == (1.0, 1.0)
    silent = evaluator.evaluate(perfect(monkeypatch, data, null=3.0))
    assert silent["f1"].value == 0.25, "one of the four has no answer"
    mean, deviation = 0.25, math.sqrt((0.75**2 + 3 * 0.25**2) / 3)
    assert silent["f1"].ci95 == (0.0, pytest.approx(mean + 1.96 * deviation / 2))


def test_without_unanswerable_questions_something_is_always_answered(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    data.write_text("\n".join(data.read_text().splitlines()[1:]))
    assert AnswerF1(data=data, **SMALL).evaluate(perfect(monkeypatch, data, null=3.0))["f1"].value == 1.0


def test_a_single_question_has_no_interval(data: Path) -> None:
    assert AnswerF1(data=data, limit=1).evaluate(subject())["f1"].ci95 is None


def test_unlabelled_questions_need_no_answers(data: Path) -> None:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("\n".join(json.dumps({key: row[key] for key in ("question", "context")}) for row in rows))
    task = QuestionAnswering(data=data)
    assert all(not batch.labels for batch in task.batches(tiny_encoders.tokenizer(), {}, batch_size=2, labelled=False))
    assert task.label_names() == ()
    with pytest.raises(EvaluationError, match="must have the column 'answers', but one of"):
        task.batches(tiny_encoders.tokenizer(), {}, batch_size=2)


def test_a_question_that_leaves_no_room_is_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match=r"max_tokens must leave room .*w50' with stride_tokens=5 needs 11, got"):
        QuestionAnswering(data=data, max_tokens=10, stride_tokens=5).batches(
            tiny_encoders.tokenizer(), {}, batch_size=1
        )
    fits = QuestionAnswering(data=data, max_tokens=11, stride_tokens=5)
    assert fits.batches(tiny_encoders.tokenizer(), {}, batch_size=1)


@pytest.mark.parametrize("answers", [{"text": ["w3 w9"], "answer_start": [9]}, {"text": [""], "answer_start": [0]}])
def test_an_answer_that_is_not_there_is_refused(data: Path, answers: dict[str, Any]) -> None:
    with pytest.raises(EvaluationError, match="An answer must stand in its context where answer_start says, but"):
        QuestionAnswering(data=rewritten(data, 1, answers=answers)).questions()


@pytest.mark.parametrize("answers", ["w3", {"text": ["w3"]}, {"text": ["w3"], "answer_start": []}])
def test_answers_of_another_form_are_refused(data: Path, answers: Any) -> None:
    with pytest.raises(EvaluationError, match="Answers must be a mapping of two lists, text and answer_start, but"):
        QuestionAnswering(data=rewritten(data, 1, answers=answers)).questions()


def test_windows_longer_than_the_context_are_refused(data: Path) -> None:
    rewritten(data, 1, context=" ".join(["w1"] * 80), answers={"text": [], "answer_start": []})
    with pytest.raises(EvaluationError, match=r"max_position_embeddings=64 tokens, got 8\d"):
        AnswerF1(data=data).evaluate(subject())


def test_a_model_without_the_head_is_refused(data: Path) -> None:
    model = tiny_encoders.bert("classification")
    with pytest.raises(EvaluationError, match="question-answering head, got BertForSequenceClassification; load it"):
        AnswerF1(data=data).evaluate(Subject(model=model, tokenizer=tiny_encoders.tokenizer()))


def test_a_model_without_its_tokenizer_is_refused(data: Path) -> None:
    with pytest.raises(EvaluationError, match="Question answering needs a tokenizer, got none"):
        AnswerF1(data=data).evaluate(Subject(model=tiny_encoders.bert("question_answering")))


def test_nan_is_an_error(data: Path) -> None:
    broken = subject()
    with torch.no_grad():
        broken.model.qa_outputs.bias[1] = math.nan
    with pytest.raises(EvaluationError, match="logits must be finite, got NaN"):
        AnswerF1(data=data).evaluate(broken)


@pytest.mark.parametrize("name", ["max_tokens", "max_answer_tokens", "limit", "batch_size"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match=f"{name} must be at least 1, got 0"):
        AnswerF1(data="data.json", **{name: 0})
    with pytest.raises(EvaluationError, match="stride_tokens must be at least 0, got -1"):
        AnswerF1(data="data.json", stride_tokens=-1)


def test_a_tokenizer_without_cls_points_at_its_first_token(data: Path) -> None:
    tokenizer = tiny_encoders.tokenizer()
    tokenizer.cls_token = None
    task = QuestionAnswering(data=data, limit=1)
    assert {window.null for window in task.windows(tokenizer, task.questions())} == {0}
