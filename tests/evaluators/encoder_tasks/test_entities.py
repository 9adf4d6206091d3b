import math
from typing import Any

import numpy as np
import pytest

from evaluators.encoder_tasks.entities import bootstrap_interval, entities, entity_counts, micro_f1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", set()),
        ("B-a I-a O B-b", {("a", 0, 1), ("b", 3, 3)}),
        ("I-a I-a B-a O", {("a", 0, 1), ("a", 2, 2)}),  # IOB1: B only between neighbours of one type
        ("B-a B-a I-a", {("a", 0, 0), ("a", 1, 2)}),
        ("B-a I-b I-b", {("a", 0, 0), ("b", 1, 2)}),
        ("O I-x-y I-x-y", {("x-y", 1, 2)}),
    ],
)
def test_entities(tags: str, expected: set[Any]) -> None:
    assert entities(tags.split()) == expected


def test_f1_by_hand() -> None:
    """The example of precision and recall: 2 right of 3 found and 4 gold."""
    gold = entities(["B-a", "I-a", "O", "B-b", "O", "B-a", "O", "B-b"])
    found = entities(["B-a", "I-a", "O", "B-b", "O", "O", "B-a", "O"])
    right, num_found, num_gold = entity_counts(gold, found)
    precision, recall = right / num_found, right / num_gold
    assert (right, num_found, num_gold) == (2, 3, 4)
    assert micro_f1([2, 3, 4]) == pytest.approx(2 * precision * recall / (precision + recall))
    assert micro_f1([[0, 0, 0], [0, 2, 0]]).tolist() == [1.0, 0.0]


def test_the_interval_of_many_alike_sentences_is_that_of_a_proportion() -> None:
    """Sentences of one entity each that is always found: F1 is the share that is right, so its interval is known."""
    right = np.arange(400) % 4 > 0
    counts = np.stack([right, np.ones(400), np.ones(400)], axis=1)
    low, high = bootstrap_interval(counts, 0.75)
    half_width = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == (pytest.approx(0.75 - half_width, abs=0.008), pytest.approx(0.75 + half_width, abs=0.008))
    assert bootstrap_interval(counts, 0.75) == (low, high)
