"""Sentences and pairs of sentences with a class each, and the accuracy of an encoder on them.

    accuracy = correct / n, with Wilson's 95 % interval for a binomial proportion

(E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927), which stays within
[0, 1] and holds for few examples and near 0 and 1.

Legend: B examples at once, C classes.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluators.base import Direction, EvaluationError, Measurement, Subject, require_counts
from evaluators.encoder_tasks.base import (
    Encoded,
    Kind,
    NumberedBatch,
    batched,
    inputs_of,
    outputs_of,
    require_context,
    require_finite,
    require_room,
)
from evaluators.encoder_tasks.reading import (
    Reader,
    Table,
    comma_separated,
    drawn,
    json_lines,
    read_table,
    tab_separated,
    trec_rows,
)
from evaluators.inputs import Batch

_READERS: dict[str, Reader] = {".tsv": tab_separated, ".csv": comma_separated, ".jsonl": json_lines, ".txt": trec_rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A class for each text.

    Attributes:
        data: A ``.tsv`` or ``.csv`` file with a header, a ``.jsonl`` file, TREC's ``.txt``, or the id of a dataset of
            the Hub.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        text_column: What to classify.
        second_text_column: Second sentence of a pair; None for single sentences.
        label_column: A class number, or a name in the model's ``label2id``.
        max_tokens: Longer texts are cut.
        limit: Use only so many examples, drawn at random; None for all.
        seed: Of that draw and of the order.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "train"
    text_column: str = "text"
    second_text_column: str | None = None
    label_column: str = "label"
    max_tokens: int = 256
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "limit": 1, "seed": 0})

    @property
    def kind(self) -> Kind:
        """Always ``classification``."""
        return "classification"

    def label_names(self) -> tuple[str, ...]:
        """The classes of a dataset of the Hub in its own order, else those that occur, sorted."""
        table = self.table()
        if self.label_column in table.class_names:
            return tuple(table.class_names[self.label_column])
        names = {str(row[self.label_column]).strip() for row in table.rows}
        if "" in names:
            raise EvaluationError(
                f"Every example must have a label, but one of {self.data} has none; use a labelled split."
            )
        return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))

    def batches(
        self, tokenizer: Any, label2id: Mapping[str, int], *, batch_size: int, labelled: bool = True
    ) -> list[Batch]:
        """Texts, with ``labels`` ``(B,)`` int64."""
        table = self.table(labelled=labelled)
        rows = self.encode(tokenizer, table)
        if labelled:
            classes = self.classes(table, label2id=label2id, num_classes=len(label2id))
            rows = [replace(row, labels={"labels": number}) for row, number in zip(rows, classes, strict=True)]
        return [batch for _, batch in batched(rows, tokenizer, batch_size=batch_size)]

    def table(self, *, labelled: bool = True) -> Table:
        """The examples to use.

        Raises:
            EvaluationError: The data cannot be had or lack a column.
        """
        columns = [*self._text_columns, *([self.label_column] if labelled else [])]
        table = read_table(self.data, subset=self.subset, split=self.split, columns=columns, readers=_READERS)
        return replace(table, rows=drawn(table.rows, limit=self.limit, seed=self.seed))

    def encode(self, tokenizer: Any, table: Table) -> list[Encoded]:
        """The examples tokenised, in their order.

        Raises:
            EvaluationError: ``max_tokens`` is too small.
        """
        require_room(tokenizer, self.max_tokens, pair=self.second_text_column is not None)
        texts = [[str(row[column]) for row in table.rows] for column in self._text_columns]
        encoding = tokenizer(*texts, truncation=True, max_length=self.max_tokens)
        return [Encoded(inputs=inputs_of(encoding, number)) for number in range(len(table.rows))]

    def classes(self, table: Table, *, label2id: Mapping[str, int], num_classes: int) -> list[int]:
        """Each example's class in a model's numbering.

        The Hub's class numbers are matched by name where the model knows the names: its order may be another.

        Raises:
            EvaluationError: The model has no such class.
        """
        labels = [row[self.label_column] for row in table.rows]
        names = [name.casefold() for name in table.class_names.get(self.label_column, ())]
        by_name = {name.casefold(): number for name, number in label2id.items()}
        if names and set(names) <= set(by_name):
            labels = [by_name[names[label]] if 0 <= label < len(names) else label for label in labels]
            return [class_number(label, label2id={}, num_classes=num_classes) for label in labels]
        return [class_number(label, label2id=label2id, num_classes=num_classes) for label in labels]

    @property
    def _text_columns(self) -> list[str]:
        return [column for column in (self.text_column, self.second_text_column) if column is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Measures ``accuracy``.

    Attributes:
        data: As for ``Classification``, like those below.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        text_column: What to classify.
        second_text_column: Second sentence of a pair; None for single sentences.
        label_column: A class number, or a name in the model's ``label2id``.
        max_tokens: Longer texts are cut.
        limit: Use only so many examples, drawn at random, always the same; None for all.
        batch_size: Examples at once; changes the speed, not the result.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "validation"
    text_column: str = "text"
    second_text_column: str | None = None
    label_column: str = "label"
    max_tokens: int = 256
    limit: int | None = None
    batch_size: int = 32
    # Examples, and batches by tokenizer (kept as well: while it lives, nothing else can have its id).
    _prepared: dict[int, tuple[Any, Table, list[NumberedBatch]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "limit": 1, "batch_size": 1})

    @property
    def name(self) -> str:
        """Always ``accuracy``."""
        return "accuracy"

    @property
    def unit(self) -> str:
        """Always ``accuracy``: a share in [0, 1]."""
        return "accuracy"

    @property
    def direction(self) -> Direction:
        """More is better."""
        return "maximize"

    @property
    def varies(self) -> bool:
        """The same model gives the same value."""
        return False

    @property
    def task(self) -> Classification:
        """Where the examples come from."""
        return Classification(
            data=self.data,
            subset=self.subset,
            split=self.split,
            text_column=self.text_column,
            second_text_column=self.second_text_column,
            label_column=self.label_column,
            max_tokens=self.max_tokens,
            limit=self.limit,
        )

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Classifies every example.

        Raises:
            EvaluationError: No tokenizer; data that are missing or lack a column; a label that is no class of the
                model; a text longer than its context; no classification head; logits that are NaN.
        """
        classes, batches = self._checked(subject)
        config: Any = subject.model.config
        correct = self._num_correct(subject.model, batches, classes, num_classes=config.num_labels)
        accuracy, ci95 = correct / len(classes), wilson_interval(correct, len(classes))
        return {self.name: Measurement(value=accuracy, unit=self.unit, ci95=ci95, n=len(classes))}

    def check(self, subject: Subject) -> None:
        """Looks for what ``evaluate`` would find wrong with the examples, without running the model.

        Raises:
            EvaluationError: As ``evaluate`` raises it.
        """
        self._checked(subject)

    def _checked(self, subject: Subject) -> tuple[list[int], list[NumberedBatch]]:
        """Each example's class, and the examples."""
        if subject.tokenizer is None:
            raise EvaluationError("Accuracy needs a tokenizer, got none; load the model together with its tokenizer.")
        table, batches = self._batches(subject.tokenizer)
        require_context(subject.model, batches)
        model: Any = subject.model
        config = model.config
        classifies = not model.can_generate()  # another head is refused by what it answers
        if classifies and config.pad_token_id is None and any(len(numbers) > 1 for numbers, _ in batches):
            raise EvaluationError(
                "A model must know the token that pads its batches, and its config has no pad_token_id; set it there, "
                "or score with batch_size 1."
            )
        return self.task.classes(table, label2id=config.label2id, num_classes=config.num_labels), batches

    @torch.inference_mode()
    def _num_correct(
        self, model: nn.Module, batches: Sequence[NumberedBatch], classes: Sequence[int], *, num_classes: int
    ) -> int:
        correct = 0
        for numbers, batch in batches:
            logits_BC = getattr(outputs_of(model, batch), "logits", None)
            if logits_BC is None or logits_BC.shape != (len(numbers), num_classes):
                raise EvaluationError(
                    f"Accuracy needs a model with a sequence-classification head, got {type(model).__name__}; "
                    "load it with AutoModelForSequenceClassification."
                )
            require_finite(logits_BC)
            predicted_B = logits_BC.argmax(dim=-1).tolist()
            correct += sum(classes[number] == predicted for number, predicted in zip(numbers, predicted_B, strict=True))
        return correct

    def _batches(self, tokenizer: Any) -> tuple[Table, list[NumberedBatch]]:
        """The examples, and tokenised and padded once per tokenizer."""
        if id(tokenizer) not in self._prepared:
            table = self.task.table()
            batches = batched(self.task.encode(tokenizer, table), tokenizer, batch_size=self.batch_size)
            self._prepared[id(tokenizer)] = (tokenizer, table, batches)
        return self._prepared[id(tokenizer)][1:]


def class_number(label: Any, *, label2id: Mapping[str, int], num_classes: int) -> int:
    """The class that a label means: a name in ``label2id``, or a number.

    Raises:
        EvaluationError: The model has no such class.
    """
    name = str(label).strip()
    if name in label2id:
        return label2id[name]
    number = _whole_number(label)
    if number is None:
        nearest = difflib.get_close_matches(name, list(label2id), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else "set label2id in the model's config."
        raise EvaluationError(f"A label must be a class of the model ({', '.join(label2id)}), got {label!r}; {hint}")
    if not 0 <= number < num_classes:
        raise EvaluationError(
            f"A label must lie between 0 and {num_classes - 1}, since the model has {num_classes} classes, "
            f"got {number}; use a model trained for these labels."
        )
    return number


def _whole_number(label: Any) -> int | None:
    """Of a class number as files have it: 1, "1", 1.0; None for anything else."""
    try:
        number = float(label)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def wilson_interval(num_correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion."""
    z = 1.959964
    share = num_correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - half_width), min(1.0, centre + half_width)
