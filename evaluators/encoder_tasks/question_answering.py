"""Questions whose answer is a span of a context, or is not there; and how well an encoder's spans match.

Contexts longer than the model's are cut into windows that overlap by ``stride_tokens``. With start and end logits s, e
of a window and [CLS] at position 0, as in arXiv:1810.04805, section 4.2 and 4.3 (and transformers' example):

    answer  = the context's span i <= j of at most max_answer_tokens with the largest s_i + e_j, over all windows
    null    = the smallest s_0 + e_0 over the windows; the answer is "" where null exceeds the span's score
    f1      = mean over questions of max over gold answers of the F1 of the two bags of words
    exact_match = share of questions whose answer equals a gold one

Words are compared in lower case, without punctuation and articles (arXiv:1606.05250, arXiv:1806.03822). "" is possible
only where the data hold an unanswerable question, else SQuAD 1.1 would pay for a class that it does not have. The
interval of F1 is that of a mean, ±1.96 s / sqrt(n) within [0, 1]; that of exact_match is Wilson's.

We take the best span exactly, where the example looks at the 20 best starts and ends.

Legend: B windows at once, T tokens.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.base import Direction, EvaluationError, Measurement, Subject, require_counts
from evaluators.encoder_tasks.answers import best_span, is_exact, max_f1, mean_interval
from evaluators.encoder_tasks.base import (
    Encoded,
    Kind,
    NumberedBatch,
    batched,
    inputs_of,
    outputs_of,
    require_context,
    require_finite,
    require_offsets,
)
from evaluators.encoder_tasks.classification import wilson_interval
from evaluators.encoder_tasks.reading import Reader, Row, drawn, json_lines, read_table, squad_rows
from evaluators.inputs import Batch

_READERS: dict[str, Reader] = {".json": squad_rows, ".jsonl": json_lines}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One example.

    Attributes:
        question: What is asked.
        context: Where the answer is looked for.
        answers: All that count as right, with the character of the context where each begins; none where the
            question cannot be answered.
    """

    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A question with a part of its context.

    Attributes:
        question: Number of the question.
        row: The model's input.
        spans_T: For each token its first character in the context and the one after its last; None outside of it.
        null: Position that means "no answer": that of [CLS], or the first token's.
    """

    question: int
    row: Encoded
    spans_T: Sequence[tuple[int, int] | None]
    null: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswering:
    """A span of the context for each question.

    Attributes:
        data: A ``.json`` file in SQuAD's format, a ``.jsonl`` file, or the id of a dataset of the Hub; ``answers`` is a
            mapping of two lists, ``text`` and ``answer_start``, as SQuAD has it on the Hub.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        question_column: What is asked.
        context_column: Where the answer is looked for.
        answers_column: The right answers, none for an unanswerable question.
        max_tokens: Of question and window together.
        stride_tokens: By how many two windows overlap.
        limit: Use only so many questions, drawn at random; None for all.
        seed: Of that draw and of the order.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "train"
    question_column: str = "question"
    context_column: str = "context"
    answers_column: str = "answers"
    max_tokens: int = 384
    stride_tokens: int = 128
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "stride_tokens": 0, "limit": 1, "seed": 0})

    @property
    def kind(self) -> Kind:
        """Always ``question_answering``."""
        return "question_answering"

    def label_names(self) -> tuple[str, ...]:
        """None: an answer has no class."""
        return ()

    def batches(
        self, tokenizer: Any, label2id: Mapping[str, int], *, batch_size: int, labelled: bool = True
    ) -> list[Batch]:
        """Windows, with ``start_positions`` and ``end_positions`` ``(B,)`` int64, both [CLS] where there is no answer.

        Of several right answers the first one is learnt.
        """
        del label2id
        questions = self.questions(labelled=labelled)
        rows = [
            replace(window.row, labels=positions(window, questions[window.question])) if labelled else window.row
            for window in self.windows(tokenizer, questions)
        ]
        return [batch for _, batch in batched(rows, tokenizer, batch_size=batch_size)]

    def questions(self, *, labelled: bool = True) -> list[Question]:
        """The examples to use.

        Raises:
            EvaluationError: The data cannot be had or lack a column, or an answer is not where it is said to be.
        """
        columns = [self.question_column, self.context_column, *([self.answers_column] if labelled else [])]
        table = read_table(self.data, subset=self.subset, split=self.split, columns=columns, readers=_READERS)
        rows = drawn(table.rows, limit=self.limit, seed=self.seed)
        return [
            Question(
                question=str(row[self.question_column]).strip(),  # some of SQuAD's begin with many spaces
                context=str(row[self.context_column]),
                answers=self._answers(row) if labelled else (),
            )
            for row in rows
        ]

    def windows(self, tokenizer: Any, questions: Sequence[Question]) -> list[Window]:
        """The windows of all questions, in their order.

        Raises:
            EvaluationError: The tokenizer cannot do this, or a question leaves no room for its context.
        """
        require_offsets(tokenizer)
        asked = [question.question for question in questions]
        self._require_room(tokenizer, asked)
        encoding = tokenizer(
            asked,
            [question.context for question in questions],
            truncation="only_second",
            max_length=self.max_tokens,
            stride=self.stride_tokens,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        return [
            Window(
                question=number,
                row=Encoded(inputs=inputs_of(encoding, row)),
                spans_T=[
                    span if sequence == 1 and span[1] > span[0] else None
                    for span, sequence in zip(encoding["offset_mapping"][row], encoding.sequence_ids(row), strict=True)
                ],
                null=_null_position(encoding["input_ids"][row], tokenizer.cls_token_id),
            )
            for row, number in enumerate(encoding["overflow_to_sample_mapping"])
        ]

    def _require_room(self, tokenizer: Any, questions: Sequence[str]) -> None:
        special = tokenizer.num_special_tokens_to_add(pair=True)
        ids = tokenizer(list(questions), add_special_tokens=False)["input_ids"]
        longest = max(range(len(ids)), key=lambda number: len(ids[number]))
        needed = len(ids[longest]) + special + self.stride_tokens + 1
        if needed > self.max_tokens:
            raise EvaluationError(
                f"max_tokens must leave room for the context: the question {questions[longest][:60]!r} with "
                f"stride_tokens={self.stride_tokens} needs {needed}, got {self.max_tokens}; raise max_tokens or lower "
                "stride_tokens."
            )

    def _answers(self, row: Row) -> tuple[tuple[str, int], ...]:
        answers, context = row[self.answers_column], str(row[self.context_column])
        try:
            found = tuple(zip(answers["text"], map(int, answers["answer_start"]), strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"Answers must be a mapping of two lists, text and answer_start, but one of {self.data} is "
                f"{str(answers)[:60]!r}; write {{text: [], answer_start: []}} where there is none."
            ) from error
        for text, start in found:
            if not text or context[start : start + len(text)] != text:
                raise EvaluationError(
                    f"An answer must stand in its context where answer_start says, but {text[:60]!r} of {self.data} "
                    f"does not stand at {start}; count characters from 0."
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerF1:
    """Measures ``f1``, and ``exact_match`` beside it.

    Attributes:
        data: As for ``QuestionAnswering``, like those below.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        question_column: What is asked.
        context_column: Where the answer is looked for.
        answers_column: The right answers, none for an unanswerable question.
        max_tokens: Of question and window together.
        stride_tokens: By how many two windows overlap.
        max_answer_tokens: Longer answers are not given.
        limit: Use only so many questions, drawn at random, always the same; None for all.
        batch_size: Windows at once; changes the speed, not the result.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "validation"
    question_column: str = "question"
    context_column: str = "context"
    answers_column: str = "answers"
    max_tokens: int = 384
    stride_tokens: int = 128
    max_answer_tokens: int = 30
    limit: int | None = None
    batch_size: int = 32
    # Questions, windows, and batches by tokenizer (kept as well: while it lives, nothing else can have its id).
    _prepared: dict[int, tuple[Any, list[Question], list[Window], list[NumberedBatch]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "stride_tokens": 0, "max_answer_tokens": 1, "limit": 1, "batch_size": 1})

    @property
    def name(self) -> str:
        """Always ``f1``."""
        return "f1"

    @property
    def unit(self) -> str:
        """Always ``f1``: a mean in [0, 1]."""
        return "f1"

    @property
    def direction(self) -> Direction:
        """More is better."""
        return "maximize"

    @property
    def varies(self) -> bool:
        """The same model gives the same value."""
        return False

    @property
    def task(self) -> QuestionAnswering:
        """Where the examples come from."""
        return QuestionAnswering(
            data=self.data,
            subset=self.subset,
            split=self.split,
            question_column=self.question_column,
            context_column=self.context_column,
            answers_column=self.answers_column,
            max_tokens=self.max_tokens,
            stride_tokens=self.stride_tokens,
            limit=self.limit,
        )

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Answers every question.

        Raises:
            EvaluationError: No tokenizer or one that cannot do this; data that are missing or lack a column; windows
                longer than the model's context; no question-answering head; logits that are NaN.
        """
        questions, windows, batches = self._checked(subject)
        given = self._answers(subject.model, questions, windows, batches)
        golds = [[text for text, _ in question.answers] for question in questions]
        f1s = [max_f1(answer, gold) for answer, gold in zip(given, golds, strict=True)]
        num_exact = sum(is_exact(answer, gold) for answer, gold in zip(given, golds, strict=True))
        n = len(questions)
        return {
            self.name: Measurement(value=math.fsum(f1s) / n, unit=self.unit, ci95=mean_interval(f1s), n=n),
            "exact_match": Measurement(value=num_exact / n, unit="accuracy", ci95=wilson_interval(num_exact, n), n=n),
        }

    def check(self, subject: Subject) -> None:
        """Looks for what ``evaluate`` would find wrong with the examples, without running the model.

        Raises:
            EvaluationError: As ``evaluate`` raises it.
        """
        self._checked(subject)

    def _checked(self, subject: Subject) -> tuple[list[Question], list[Window], list[NumberedBatch]]:
        """As ``_batches`` gives them."""
        if subject.tokenizer is None:
            raise EvaluationError(
                "Question answering needs a tokenizer, got none; load the model together with its tokenizer."
            )
        prepared = self._batches(subject.tokenizer)
        require_context(subject.model, prepared[2])
        return prepared

    @torch.inference_mode()
    def _answers(
        self,
        model: nn.Module,
        questions: Sequence[Question],
        windows: Sequence[Window],
        batches: Sequence[NumberedBatch],
    ) -> list[str]:
        """The answer to each question, "" for none."""
        may_be_none = any(not question.answers for question in questions)
        best, answers = [-math.inf] * len(questions), [""] * len(questions)
        null = [math.inf] * len(questions)
        for numbers, start_BT, end_BT in self._logits(model, batches):
            for number, start_T, end_T in zip(numbers, start_BT, end_BT, strict=True):
                window = windows[number]
                asked = window.question
                null[asked] = min(null[asked], (start_T[window.null] + end_T[window.null]).item())
                score, span = best_span(start_T, end_T, window.spans_T, max_tokens=self.max_answer_tokens)
                if score > best[asked]:
                    best[asked], answers[asked] = score, questions[asked].context[span[0] : span[1]]
        return [
            "" if may_be_none and nothing > score else answer
            for answer, score, nothing in zip(answers, best, null, strict=True)
        ]

    def _logits(self, model: nn.Module, batches: Sequence[NumberedBatch]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Numbers of the windows, and their start and end logits ``(B, T)`` float32 on the CPU."""
        for numbers, batch in batches:
            outputs = outputs_of(model, batch)
            if "start_logits" not in outputs or "end_logits" not in outputs:
                raise EvaluationError(
                    f"F1 of answers needs a model with a question-answering head, got {type(model).__name__}; "
                    "load it with AutoModelForQuestionAnswering."
                )
            start_BT, end_BT = outputs["start_logits"].float().cpu(), outputs["end_logits"].float().cpu()
            require_finite(start_BT)
            require_finite(end_BT)
            yield numbers, start_BT, end_BT

    def _batches(self, tokenizer: Any) -> tuple[list[Question], list[Window], list[NumberedBatch]]:
        """The questions and their windows, tokenised and padded once per tokenizer."""
        if id(tokenizer) not in self._prepared:
            questions = self.task.questions()
            windows = self.task.windows(tokenizer, questions)
            batches = batched([window.row for window in windows], tokenizer, batch_size=self.batch_size)
            self._prepared[id(tokenizer)] = (tokenizer, questions, windows, batches)
        return self._prepared[id(tokenizer)][1:]


def positions(window: Window, question: Question) -> dict[str, int | list[int]]:
    """First and last token of the question's first answer; twice the null position where the window lacks a part."""
    where = (window.null, window.null)
    if question.answers:
        text, begin = question.answers[0]
        tokens = [
            position
            for position, span in enumerate(window.spans_T)
            if span is not None and span[0] < begin + len(text) and span[1] > begin
        ]
        if tokens and _covers(window, tokens, begin, begin + len(text), question.context):
            where = (tokens[0], tokens[-1])
    return {"start_positions": where[0], "end_positions": where[1]}


def _covers(window: Window, tokens: Sequence[int], begin: int, end: int, context: str) -> bool:
    """Whether these tokens hold the whole answer, rather than the part of it that this window sees."""
    first, last = window.spans_T[tokens[0]], window.spans_T[tokens[-1]]
    assert first is not None
    assert last is not None
    return not context[begin : max(begin, first[0])].strip() and not context[min(end, last[1]) : end].strip()


def _null_position(ids_T: Sequence[int], cls_token_id: int | None) -> int:
    return ids_T.index(cls_token_id) if cls_token_id in ids_T else 0
