"""Answers to questions: the span that a model means, and how well its words match those that are right.

Words are compared in lower case, without punctuation and articles, as SQuAD's own script does (arXiv:1606.05250,
arXiv:1806.03822).

Legend: T tokens, S starts, E ends.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def best_span(
    start_T: Tensor, end_T: Tensor, spans_T: Sequence[tuple[int, int] | None], *, max_tokens: int
) -> tuple[float, tuple[int, int]]:
    """The largest sum of a start and an end logit, and the characters from that start to that end.

    Args:
        start_T: ``(padded T,)``.
        end_T: ``(padded T,)``.
        spans_T: Characters of each token; only those that have some count.
        max_tokens: Of the span.

    Returns:
        Minus infinity and an empty span where no token has characters.
    """
    places = [(position, span) for position, span in enumerate(spans_T) if span is not None]
    if not places:
        return -math.inf, (0, 0)
    index = torch.tensor([position for position, _ in places])
    scores_SE = start_T[index][:, None] + end_T[index][None, :]
    allowed_SE = torch.ones_like(scores_SE, dtype=torch.bool).triu().tril(max_tokens - 1)
    scores_SE = scores_SE.masked_fill(~allowed_SE, -math.inf)
    first, last = divmod(int(scores_SE.argmax()), len(places))
    return scores_SE[first, last].item(), (places[first][1][0], places[last][1][1])


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and spare spaces, as SQuAD's own script has it."""
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def max_f1(answer: str, golds: Sequence[str]) -> float:
    """F1 of the words in common with the gold answer that fits best; without one, 1 for an empty answer."""
    return max(_f1(normalised(answer).split(), normalised(gold).split()) for gold in _meant(golds))


def is_exact(answer: str, golds: Sequence[str]) -> bool:
    """Whether the answer equals a gold one; without one, whether it is empty."""
    return any(normalised(answer) == normalised(gold) for gold in _meant(golds))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of values in [0, 1], that of the normal distribution; None for a single one."""
    if len(values) < 2:
        return None
    values_N = torch.tensor(values, dtype=torch.float64)
    mean, half_width = math.fsum(values) / len(values), 1.96 * values_N.std().item() / math.sqrt(len(values))
    return max(0.0, mean - half_width), min(1.0, mean + half_width)


def _meant(golds: Sequence[str]) -> Sequence[str]:
    """As SQuAD 2.0 has it, gold answers without a word do not count beside others."""
    return [gold for gold in golds if normalised(gold)] or [""]


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))
