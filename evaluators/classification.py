"""Accuracy of an encoder with a sequence-classification head, on a local file or a dataset of the Hub.

    accuracy = correct / n, with Wilson's 95 % interval for a binomial proportion

(E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927), which stays within
[0, 1] and holds for few examples and near 0 and 1.

Legend: B examples at once, C classes.
"""

import csv
import difflib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.base import Direction, EvaluationError, Measurement, Subject
from evaluators.inputs import device_of, require_positions
from evaluators.perplexity import read_text

Batch = tuple[list[int], Mapping[str, Tensor]]
"""Numbers of the examples, and the model's padded input for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Measures ``accuracy``.

    Attributes:
        data: A ``.tsv`` or ``.csv`` file with a header, a ``.jsonl`` file, or the id of a dataset of the Hub.
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
    # Labels, and batches by tokenizer (kept as well: while it lives, nothing else can have its id).
    _prepared: dict[int, tuple[Any, list[Any], list[Batch]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("max_tokens", "limit", "batch_size"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise EvaluationError(f"{name} must be at least 1, got {count}.")

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

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Classifies every example.

        Raises:
            EvaluationError: No tokenizer; data that are missing or lack a column; a label that is no class of the
                model; a text longer than its context; no classification head; logits that are NaN.
        """
        if subject.tokenizer is None:
            raise EvaluationError("Accuracy needs a tokenizer, got none; load the model together with its tokenizer.")
        labels, batches = self._batches(subject.tokenizer)
        config: Any = subject.model.config
        classes = [class_number(label, label2id=config.label2id, num_classes=config.num_labels) for label in labels]
        correct = self._num_correct(subject.model, batches, classes, num_classes=config.num_labels)
        accuracy, ci95 = correct / len(classes), wilson_interval(correct, len(classes))
        return {self.name: Measurement(value=accuracy, unit=self.unit, ci95=ci95, n=len(classes))}

    @torch.inference_mode()
    def _num_correct(self, model: nn.Module, batches: list[Batch], classes: list[int], *, num_classes: int) -> int:
        device, correct = device_of(model), 0
        for numbers, inputs in batches:
            require_positions(model, inputs["input_ids"].shape[1])
            logits_BC = model(**{key: tensor.to(device) for key, tensor in inputs.items()}).logits
            if logits_BC.shape != (len(numbers), num_classes):
                raise EvaluationError(
                    f"Accuracy needs a model with a sequence-classification head, got {type(model).__name__}; "
                    "load it with AutoModelForSequenceClassification."
                )
            if not logits_BC.isfinite().all():
                raise EvaluationError(
                    "The logits must be finite, got NaN or infinity; load the model in float32 or bfloat16, or leave "
                    "this sub-network out."
                )
            predicted_B = logits_BC.argmax(dim=-1).tolist()
            correct += sum(classes[number] == predicted for number, predicted in zip(numbers, predicted_B, strict=True))
        return correct

    def _batches(self, tokenizer: Any) -> tuple[list[Any], list[Batch]]:
        """The labels, and the examples sorted by length, tokenised and padded once per tokenizer."""
        if id(tokenizer) not in self._prepared:
            rows = self._rows()
            by_length = sorted(range(len(rows)), key=lambda number: sum(map(len, self._texts(rows[number]))))
            batches: list[Batch] = []
            for start in range(0, len(rows), self.batch_size):
                numbers = by_length[start : start + self.batch_size]
                columns = zip(*(self._texts(rows[number]) for number in numbers), strict=True)
                inputs = tokenizer(
                    *map(list, columns), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
                )
                batches.append((numbers, inputs))
            self._prepared[id(tokenizer)] = (tokenizer, [row[self.label_column] for row in rows], batches)
        return self._prepared[id(tokenizer)][1:]

    @property
    def _text_columns(self) -> list[str]:
        return [column for column in (self.text_column, self.second_text_column) if column is not None]

    def _texts(self, row: Mapping[str, Any]) -> list[str]:
        return [row[column] for column in self._text_columns]

    def _rows(self) -> list[Mapping[str, Any]]:
        """The examples to use, each with every column that is needed."""
        rows = read_rows(self.data) if _is_file(self.data) else self._rows_of_hub()
        if not rows:
            raise EvaluationError(f"The data must hold at least one example, but {self.data} holds none.")
        for row in rows:
            present = [column for column, value in row.items() if value is not None]
            for column in (*self._text_columns, self.label_column):
                if column not in present:
                    raise EvaluationError(
                        f"Every example must have the column {column!r}, but one of {self.data} has only "
                        f"{', '.join(map(repr, present))}; name the right ones in text_column and label_column."
                    )
        if self.limit is None:
            return list(rows)
        # Files are often sorted by class, so the first ones would not do.
        order = np.random.default_rng(0).permutation(len(rows))
        return [rows[number] for number in order[: self.limit]]

    def _rows_of_hub(self) -> Sequence[Mapping[str, Any]]:
        import datasets  # takes a second to import, and only data of the Hub need it

        try:
            return list(datasets.load_dataset(str(self.data), self.subset, split=self.split))
        except (OSError, ValueError) as error:
            raise EvaluationError(
                f"data must be a .tsv, .csv or .jsonl file or a dataset of the Hub; {self.data} could not be loaded "
                f"as one: {error}."
            ) from error


def read_rows(path: Path | str) -> list[Mapping[str, Any]]:
    """The examples of a ``.tsv``, ``.csv`` or ``.jsonl`` file.

    Raises:
        EvaluationError: The file is missing, empty, not text, or broken.
    """
    text = read_text(path)
    suffix = Path(path).suffix
    if suffix == ".jsonl":
        lines = enumerate(text.split("\n"), 1)
        return [_json_object(line, f"line {number} of {path}") for number, line in lines if line.strip()]
    if suffix == ".tsv":  # where quotes mean nothing, as GLUE and others write it
        return list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    return list(csv.DictReader(io.StringIO(text)))


def _json_object(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"Every line must be a JSON object, but {where} is not: {error}.") from error
    if not isinstance(record, dict):
        raise EvaluationError(f"Every line must be a JSON object, but {where} is {line[:40]!r}.")
    return record


def class_number(label: Any, *, label2id: Mapping[str, int], num_classes: int) -> int:
    """The class that a label means: a name in ``label2id``, or a number.

    Raises:
        EvaluationError: The model has no such class.
    """
    if str(label) in label2id:
        return label2id[str(label)]
    try:
        number = int(label)
    except ValueError as error:
        nearest = difflib.get_close_matches(str(label), list(label2id), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else "set label2id in the model's config."
        raise EvaluationError(
            f"A label must be a class of the model ({', '.join(label2id)}), got {label!r}; {hint}"
        ) from error
    if not 0 <= number < num_classes:
        raise EvaluationError(
            f"A label must lie between 0 and {num_classes - 1}, since the model has {num_classes} classes, "
            f"got {number}; use a model trained for these labels."
        )
    return number


def wilson_interval(num_correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion."""
    z = 1.959964
    share = num_correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - half_width), min(1.0, centre + half_width)


def _is_file(data: Path | str) -> bool:
    return Path(data).suffix in (".tsv", ".csv", ".jsonl")
