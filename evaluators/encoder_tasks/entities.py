"""The entities that tags spell, and F1 over those of many sentences.

    F1 = 2 |found and gold| / (|found| + |gold|)

It is no mean over sentences, so its interval comes from bootstrap samples of them.

Legend: N sentences, R bootstrap samples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_NUM_SAMPLES = 1000

Entity = tuple[str, int, int]
"""Type, first word, last word."""


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities that a sentence's tags spell; tags of another form than ``B-`` and ``I-`` are as ``O``."""
    found: set[Entity] = set()
    kind, first = "", 0
    for number, tag in enumerate([*tags, "O"]):
        prefix, _, tag_kind = tag.partition("-")
        if kind and (prefix != "I" or tag_kind != kind):
            found.add((kind, first, number - 1))
            kind = ""
        if not kind and prefix in ("B", "I"):
            kind, first = tag_kind, number
    return found


def entity_counts(gold: set[Entity], found: set[Entity]) -> tuple[int, int, int]:
    """How many entities are right, found and gold."""
    return len(gold & found), len(found), len(gold)


def micro_f1(counts: Any) -> Any:
    """F1 from counts of entities that are right, found and gold.

    Args:
        counts: ``(..., 3)``.

    Returns:
        ``(...)`` float64; 1 where nothing was there and nothing found.
    """
    counts = np.asarray(counts, dtype=np.float64)
    both = counts[..., 1] + counts[..., 2]
    return np.where(both > 0, 2 * counts[..., 0] / np.maximum(both, 1), 1.0)


def bootstrap_interval(counts_N3: Any, value: float) -> tuple[float, float]:
    """The 95 % percentile interval of micro F1 over samples of the sentences; it holds ``value``.

    Args:
        counts_N3: Entities right, found and gold in each sentence.
        value: F1 of all of them.
    """
    num_sentences = len(counts_N3)
    rng = np.random.default_rng(0)
    # How often each sentence is drawn, instead of which: a sample is then a product of two matrices.
    samples = (rng.multinomial(num_sentences, np.full(num_sentences, 1 / num_sentences)) for _ in range(_NUM_SAMPLES))
    f1s_R = [float(micro_f1(times_N @ counts_N3)) for times_N in samples]
    low, high = np.quantile(f1s_R, [0.025, 0.975]).tolist()
    return min(low, value), max(high, value)
