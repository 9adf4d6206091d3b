"""Examples from local files and from the Hub, as rows of named columns.

| format | what a file holds |
|---|---|
| ``.tsv``, ``.csv`` | a header, then a line for each example; quotes mean something in ``.csv`` alone, as GLUE has it |
| ``.jsonl`` | a JSON object a line |
| TREC's question types | ``LABEL:question``, or ``LABEL:fine question`` (only ``LABEL`` is read) |
| SQuAD's 1.1 or 2.0 | ``.json`` |
| CoNLL's | a word a line, its tag in the last column, an empty line after each sentence |

Which ending means which format depends on the task; what has none of its endings is the id of a dataset on the Hub.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.base import EvaluationError
from evaluators.perplexity import read_text

Row = Mapping[str, Any]
Reader = Callable[[Path | str], list[Row]]

_ANY = "*"

# Of X. Li and D. Roth, "Learning question classifiers", COLING 2002.
_FINE_TREC_CLASS = re.compile(
    r"(abb|exp|animal|body|color|cremat|currency|dismed|event|food|instru|lang|letter|other|plant|product|religion|"
    r"sport|substance|symbol|techmeth|termeq|veh|word|def|desc|manner|reason|gr|ind|title|city|country|mount|state|"
    r"code|count|date|dist|money|ord|period|perc|speed|temp|volsize|weight)\s+(\S.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Examples.

    Attributes:
        rows: One mapping from column to value for each.
        class_names: By column, the names that its class numbers stand for; only the Hub knows such.
    """

    rows: Sequence[Row]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_table(
    data: Path | str, *, subset: str | None, split: str, columns: Collection[str], readers: Mapping[str, Reader]
) -> Table:
    """The examples of a file, or of a split of a dataset of the Hub.

    Args:
        data: A file with one of the endings; else the id of a dataset.
        subset: The dataset's configuration.
        split: The dataset's split.
        columns: Those that every example must have, with a value.
        readers: By the ending of a file; ``*`` is for existing files with any other.

    Raises:
        EvaluationError: The data cannot be had, are broken, hold no example or lack a column.
    """
    reader = readers.get(Path(data).suffix) or (readers.get(_ANY) if Path(data).is_file() else None)
    table = (
        Table(rows=reader(data))
        if reader
        else _table_of_hub(data, subset, split, [end for end in readers if end != _ANY])
    )
    if not table.rows:
        raise EvaluationError(f"The data must hold at least one example, but {data} holds none; give another file.")
    for row in table.rows:
        present = [column for column, value in row.items() if value is not None]
        for column in columns:
            if column not in present:
                raise EvaluationError(
                    f"Every example must have the column {column!r}, but one of {data} has only "
                    f"{', '.join(map(repr, present))}; name the right ones in the options that end in _column."
                )
    return table


def drawn(rows: Sequence[Row], *, limit: int | None, seed: int) -> list[Row]:
    """So many rows in a random order: files are often sorted by class, so the first ones would not do."""
    return [rows[number] for number in np.random.default_rng(seed).permutation(len(rows))[:limit]]


def json_lines(path: Path | str) -> list[Row]:
    """The columns are the keys of each object.

    Raises:
        EvaluationError: The file is missing, empty, not text, or a line is no JSON object.
    """
    lines = enumerate(read_text(path).split("\n"), 1)
    return [_json_object(line, f"line {number} of {path}") for number, line in lines if line.strip()]


def tab_separated(path: Path | str) -> list[Row]:
    """The columns are those of the header; quotes mean nothing.

    Raises:
        EvaluationError: The file is missing, empty or not text.
    """
    return _separated(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def comma_separated(path: Path | str) -> list[Row]:
    """The columns are those of the header; a quoted field may hold line breaks.

    Raises:
        EvaluationError: The file is missing, empty or not text.
    """
    return _separated(path)


def trec_rows(path: Path | str) -> list[Row]:
    """Columns ``label`` and ``text``. TREC's own training file is Latin-1, for the sake of a single letter.

    Raises:
        EvaluationError: The file is missing, empty or not text, or a line lacks label or question.
    """
    try:
        text = read_text(path)
    except EvaluationError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        text = Path(path).read_text(encoding="latin-1")
    pairs = []
    for number, line in enumerate(text.split("\n"), 1):
        label, colon, question = line.partition(":")
        if line.strip() and not (colon and label.strip() and question.strip()):
            raise EvaluationError(
                f"Every line must be LABEL:question, but line {number} of {path} is {line[:40]!r}; mend "
                "it, or use .tsv with a header."
            )
        if line.strip():
            pairs.append((label.strip(), question.strip()))
    # Only all lines together tell a fine class from a question's first word.
    fine = [_FINE_TREC_CLASS.fullmatch(question) for _, question in pairs]
    questions = [
        match[2] if match and all(fine) else question for match, (_, question) in zip(fine, pairs, strict=True)
    ]
    return [{"label": label, "text": question} for (label, _), question in zip(pairs, questions, strict=True)]


def squad_rows(path: Path | str) -> list[Row]:
    """Columns ``id``, ``question``, ``context`` and ``answers``, as the Hub has them.

    Raises:
        EvaluationError: The file is missing, empty or not text, or in another format.
    """
    try:
        return [
            {
                "id": question.get("id"),
                "question": question["question"],
                "context": paragraph["context"],
                **({"answers": _by_field(question["answers"])} if "answers" in question else {}),
            }
            for article in json.loads(read_text(path))["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"A .json file must be in SQuAD's format, but {path} is not ({type(error).__name__}: {error}); use .jsonl "
            "with the columns question, context and answers."
        ) from error


def conll_rows(path: Path | str) -> list[Row]:
    """Columns ``tokens`` and ``ner_tags``; the latter is missing from a sentence whose lines have one column.

    Raises:
        EvaluationError: The file is missing, empty or not text, or a word among tagged ones has no tag.
    """
    sentences: list[list[list[str]]] = [[]]
    for line in read_text(path).split("\n"):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("-DOCSTART-"):
            sentences.append([])
        else:
            sentences[-1].append([field.strip() for field in fields])
    return [_sentence(words, path) for words in sentences if words]


def _separated(path: Path | str, **dialect: Any) -> list[Row]:
    """Rows of a file with a header; a field may be as long as a text is (the module's own limit is 128 KiB)."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        return list(csv.DictReader(io.StringIO(read_text(path)), **dialect))
    except csv.Error as error:
        raise EvaluationError(f"The file must be a table of text, but {path} is not ({error}); mend it.") from error
    finally:
        csv.field_size_limit(limit)


def _json_object(line: str, where: str) -> Row:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"Every line must be a JSON object, but {where} is not ({error}); mend it.") from error
    if not isinstance(record, dict):
        raise EvaluationError(f"Every line must be a JSON object, but {where} is {line[:40]!r}; mend it.")
    return record


def _by_field(answers: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [answer[key] for answer in answers] for key in ("text", "answer_start")}


def _sentence(words: list[list[str]], path: Path | str) -> Row:
    tokens = [word[0] for word in words]
    with_tag = [word for word in words if len(word) > 1 and word[-1]]
    if with_tag and len(with_tag) < len(words):
        untagged = next(word for word in words if word not in with_tag)
        raise EvaluationError(
            f"Every word must have a tag in its last column, but {untagged[0]!r} in {path} has none; add it."
        )
    return {"tokens": tokens, "ner_tags": [word[-1] for word in words]} if with_tag else {"tokens": tokens}


def _table_of_hub(data: Path | str, subset: str | None, split: str, endings: Collection[str]) -> Table:
    import datasets  # takes a second to import, and only data of the Hub need it

    try:
        loaded = datasets.load_dataset(str(data), subset, split=split)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a dataset whose loading is a script
        raise EvaluationError(
            f"data must be a {' or '.join(endings)} file or a dataset of the Hub; {data} could not be loaded as one "
            f"({' '.join(str(error).split()).rstrip('.')}); check the name, or give a local file."
        ) from error
    class_names = {}
    for column, feature in (getattr(loaded, "features", None) or {}).items():
        names = getattr(getattr(feature, "feature", feature), "names", None)  # of classes, or of a list of them
        if names:
            class_names[column] = tuple(names)
    return Table(rows=list(loaded), class_names=class_names)
