"""Sentences with a tag for each word, and how many of the entities that they spell an encoder finds.

Tags are ``O``, ``B-type`` and ``I-type``. An entity begins at a ``B``, and at an ``I`` that continues nothing of its
type, so that IOB1 (``B`` only between neighbours of one type) and IOB2 (``B`` always) mean the same, as in CoNLL's own
script (Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 shared task", 2003). Over all sentences:

    entity_f1 = 2 |found and gold| / (|found| + |gold|)

An entity is right where type, first and last word are. F1 is no mean over sentences, so its 95 % interval comes from
a thousand bootstrap samples of the sentences, always the same.

A word's tag is predicted at its first token. What ``max_tokens`` cuts off, and words that have no token, count as
``O``.

Legend: B sentences at once, T tokens, C tags, N sentences.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
    require_offsets,
    require_room,
)
from evaluators.encoder_tasks.entities import bootstrap_interval, entities, entity_counts, micro_f1
from evaluators.encoder_tasks.reading import Reader, conll_rows, drawn, json_lines, read_table
from evaluators.inputs import IGNORED, Batch

_READERS: dict[str, Reader] = {".conll": conll_rows, ".jsonl": json_lines, ".txt": conll_rows, "*": conll_rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Words, and a tag for each (none where tags were not asked for)."""

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClassification:
    """A tag for each word.

    Attributes:
        data: A file in CoNLL's format (a word a line, its tag in the last column), a ``.jsonl`` file, or the id of a
            dataset of the Hub.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        tokens_column: The list of words; CoNLL files have it as ``tokens``.
        tags_column: The list of tags; CoNLL files have it as ``ner_tags``.
        max_tokens: Longer sentences are cut.
        limit: Use only so many sentences, drawn at random; None for all.
        seed: Of that draw and of the order.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "train"
    tokens_column: str = "tokens"
    tags_column: str = "ner_tags"
    max_tokens: int = 256
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "limit": 1, "seed": 0})

    @property
    def kind(self) -> Kind:
        """Always ``token_classification``."""
        return "token_classification"

    def label_names(self) -> tuple[str, ...]:
        """``O`` first, then the tags that occur, sorted."""
        names = {tag for sentence in self.sentences() for tag in sentence.tags}
        return ("O", *sorted(names - {"O"}))

    def batches(
        self, tokenizer: Any, label2id: Mapping[str, int], *, batch_size: int, labelled: bool = True
    ) -> list[Batch]:
        """Sentences, with ``labels`` ``(B, T)`` int64: a tag at each word's first token, -100 elsewhere.

        Labelled sentences that have no token with a tag are left out, since their loss would be NaN.
        """
        sentences = self.sentences(labelled=labelled)
        rows = []
        for sentence, (row, firsts) in zip(sentences, self.encode(tokenizer, sentences), strict=True):
            if not labelled:
                rows.append(row)
            elif firsts:
                labels = [IGNORED] * len(row.inputs["input_ids"])
                for word, position in firsts.items():
                    labels[position] = tag_number(sentence.tags[word], label2id)
                rows.append(Encoded(inputs=row.inputs, labels={"labels": labels}))
        if not rows:
            raise EvaluationError(
                f"At least one sentence must have a word with a tag, but none of {self.data} has; give another file."
            )
        return [batch for _, batch in batched(rows, tokenizer, batch_size=batch_size)]

    def sentences(self, *, labelled: bool = True) -> list[Sentence]:
        """The examples to use.

        Raises:
            EvaluationError: The data cannot be had or lack a column, a word has no tag, or a tag is none.
        """
        columns = [self.tokens_column, *([self.tags_column] if labelled else [])]
        table = read_table(self.data, subset=self.subset, split=self.split, columns=columns, readers=_READERS)
        names = table.class_names.get(self.tags_column)
        sentences = []
        for row in drawn(table.rows, limit=self.limit, seed=self.seed):
            words = tuple(map(str, row[self.tokens_column]))
            tags = [names[tag] if names else tag for tag in row[self.tags_column]] if labelled else []
            if labelled and len(tags) != len(words):
                raise EvaluationError(
                    f"A sentence must have a tag for each word, but one of {self.data} has {len(words)} words and "
                    f"{len(tags)} tags; mend it."
                )
            for tag in tags:
                _require_tag(tag, self.data)
            sentences.append(Sentence(words=words, tags=tuple(tags)))
        return sentences

    def encode(self, tokenizer: Any, sentences: Sequence[Sentence]) -> list[tuple[Encoded, dict[int, int]]]:
        """Each sentence tokenised, and from the number of a word to the position of its first token.

        The words are joined by spaces and found again by their characters: some tokenizers (byte-level ones) do not
        take lists of words.

        Raises:
            EvaluationError: The tokenizer cannot tell where its tokens lie, or ``max_tokens`` is too small.
        """
        require_offsets(tokenizer)
        require_room(tokenizer, self.max_tokens)
        encoding = tokenizer(
            [" ".join(sentence.words) for sentence in sentences],
            truncation=True,
            max_length=self.max_tokens,
            return_offsets_mapping=True,
        )
        return [
            (
                Encoded(inputs=inputs_of(encoding, number)),
                _first_tokens(sentence.words, encoding["offset_mapping"][number]),
            )
            for number, sentence in enumerate(sentences)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityF1:
    """Measures ``entity_f1``.

    Attributes:
        data: As for ``TokenClassification``, like those below.
        subset: Configuration of a dataset of the Hub.
        split: Split of a dataset of the Hub.
        tokens_column: The list of words.
        tags_column: The list of tags.
        max_tokens: Longer sentences are cut; the entities beyond count as missed.
        limit: Use only so many sentences, drawn at random, always the same; None for all.
        batch_size: Sentences at once; changes the speed, not the result.

    Raises:
        EvaluationError: A number out of its range.
    """

    data: Path | str
    subset: str | None = None
    split: str = "validation"
    tokens_column: str = "tokens"
    tags_column: str = "ner_tags"
    max_tokens: int = 256
    limit: int | None = None
    batch_size: int = 32
    # Sentences, first tokens, and batches by tokenizer (kept as well: while it lives, nothing else can have its id).
    _prepared: dict[int, tuple[Any, list[Sentence], list[dict[int, int]], list[NumberedBatch]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_counts(self, {"max_tokens": 1, "limit": 1, "batch_size": 1})

    @property
    def name(self) -> str:
        """Always ``entity_f1``."""
        return "entity_f1"

    @property
    def unit(self) -> str:
        """Always ``f1``."""
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
    def task(self) -> TokenClassification:
        """Where the examples come from."""
        return TokenClassification(
            data=self.data,
            subset=self.subset,
            split=self.split,
            tokens_column=self.tokens_column,
            tags_column=self.tags_column,
            max_tokens=self.max_tokens,
            limit=self.limit,
        )

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Tags every sentence.

        Raises:
            EvaluationError: No tokenizer or one that cannot do this; data that are missing, lack a column or hold no
                entity; a tag that the model does not know; sentences longer than its context; no
                token-classification head; logits that are NaN.
        """
        sentences, firsts, batches = self._checked(subject)
        config: Any = subject.model.config
        found = self._tags(subject.model, sentences, firsts, batches, config.id2label)
        counts_N3 = np.array(
            [entity_counts(entities(gold.tags), entities(tags)) for gold, tags in zip(sentences, found, strict=True)]
        )
        value = float(micro_f1(counts_N3.sum(axis=0)))
        ci95 = bootstrap_interval(counts_N3, value)
        return {self.name: Measurement(value=value, unit=self.unit, ci95=ci95, n=len(sentences))}

    def check(self, subject: Subject) -> None:
        """Looks for what ``evaluate`` would find wrong with the examples, without running the model.

        Raises:
            EvaluationError: As ``evaluate`` raises it.
        """
        self._checked(subject)

    def _checked(self, subject: Subject) -> tuple[list[Sentence], list[dict[int, int]], list[NumberedBatch]]:
        """As ``_batches`` gives them."""
        if subject.tokenizer is None:
            raise EvaluationError(
                "Token classification needs a tokenizer, got none; load the model together with its tokenizer."
            )
        sentences, firsts, batches = self._batches(subject.tokenizer)
        require_context(subject.model, batches)
        config: Any = subject.model.config
        for tag in sorted({tag for sentence in sentences for tag in sentence.tags}):
            tag_number(tag, config.label2id)
        if not any(entities(sentence.tags) for sentence in sentences):
            raise EvaluationError(
                f"The data must hold at least one entity, but {self.data} holds none; raise limit or give another file."
            )
        return sentences, firsts, batches

    @torch.inference_mode()
    def _tags(
        self,
        model: nn.Module,
        sentences: Sequence[Sentence],
        firsts: Sequence[Mapping[int, int]],
        batches: Sequence[NumberedBatch],
        id2label: Mapping[int, str],
    ) -> list[list[str]]:
        """The predicted tag of every word."""
        found = [["O"] * len(sentence.words) for sentence in sentences]
        for numbers, batch in batches:
            logits_BTC = getattr(outputs_of(model, batch), "logits", None)
            if logits_BTC is None or logits_BTC.shape != (*batch.tokens_BT.shape, len(id2label)):
                raise EvaluationError(
                    f"Entity F1 needs a model with a token-classification head, got {type(model).__name__}; "
                    "load it with AutoModelForTokenClassification."
                )
            require_finite(logits_BTC)
            for number, tags_T in zip(numbers, logits_BTC.argmax(dim=-1).tolist(), strict=True):
                for word, position in firsts[number].items():
                    found[number][word] = id2label[tags_T[position]]
        return found

    def _batches(self, tokenizer: Any) -> tuple[list[Sentence], list[dict[int, int]], list[NumberedBatch]]:
        """The sentences, tokenised and padded once per tokenizer."""
        if id(tokenizer) not in self._prepared:
            sentences = self.task.sentences()
            encoded = self.task.encode(tokenizer, sentences)
            batches = batched([row for row, _ in encoded], tokenizer, batch_size=self.batch_size)
            self._prepared[id(tokenizer)] = (tokenizer, sentences, [firsts for _, firsts in encoded], batches)
        return self._prepared[id(tokenizer)][1:]


def tag_number(tag: str, label2id: Mapping[str, int]) -> int:
    """The number of a tag in a model's config.

    Raises:
        EvaluationError: The model does not know it.
    """
    if tag not in label2id:
        nearest = difflib.get_close_matches(tag, list(label2id), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else "use a model trained for these tags."
        raise EvaluationError(f"A tag must be one of the model's ({', '.join(label2id)}), got {tag!r}; {hint}")
    return label2id[tag]


def _require_tag(tag: Any, data: Path | str) -> None:
    if not isinstance(tag, str) or not (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2)):
        raise EvaluationError(
            f"A tag must be O, B-type or I-type, got {tag!r} in {data}; write tags by name, in IOB1 or IOB2."
        )


def _first_tokens(words: Sequence[str], spans_T: Sequence[tuple[int, int]]) -> dict[int, int]:
    """From a word's number to the position of the token that it begins with."""
    word_at: dict[int, int] = {}
    begin = 0
    for number, word in enumerate(words):
        word_at |= dict.fromkeys(range(begin, begin + len(word)), number)
        begin += len(word) + 1
    firsts: dict[int, int] = {}
    for position, (start, end) in enumerate(spans_T):
        # A token may begin with the space before its word, never end with one.
        if end > start and end - 1 in word_at:
            firsts.setdefault(word_at[end - 1], position)
    return firsts
