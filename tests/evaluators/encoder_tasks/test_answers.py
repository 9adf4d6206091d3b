import itertools
import math

import pytest
import torch

from evaluators.encoder_tasks.answers import best_span, is_exact, max_f1, mean_interval, normalised


# Cases of SQuAD's own evaluation script: normalize_answer, f1_score, exact_match_score.
@pytest.mark.parametrize(
    ("answer", "golds", "f1", "exact"),
    [
        ("the Normans", ["Normans"], 1.0, True),
        ("10th-century!", ["10thcentury"], 1.0, True),
        ("in the 10th century", ["10th century"], 2 * (2 / 3) * 1 / (2 / 3 + 1), False),
        ("France", ["Norway", "northern France"], 2 * 1 * 0.5 / 1.5, False),
        ("a b b", ["b c"], 2 * 0.5 * 0.5 / (0.5 + 0.5), False),
        ("", ["France"], 0.0, False),
        ("France", [], 0.0, False),
        ("", [], 1.0, True),
        ("the", [], 1.0, True),
        ("", ["the", "France"], 0.0, False),
    ],
)
def test_scores_of_an_answer(answer: str, golds: list[str], f1: float, exact: bool) -> None:
    assert max_f1(answer, golds) == pytest.approx(f1)
    assert is_exact(answer, golds) is exact


def test_normalisation() -> None:
    assert normalised("  An  apple, and THE other: theme ") == "apple and other theme"


def test_the_best_span_is_that_of_brute_force() -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        start, end = torch.randn(2, 12, generator=rng)
        spans = [None if position in (0, 3, 11) else (10 * position, 10 * position + 9) for position in range(12)]
        places = [(position, span) for position, span in enumerate(spans) if span is not None]
        scores = {
            (first[1][0], last[1][1]): (start[first[0]] + end[last[0]]).item()
            for (i, first), (j, last) in itertools.product(enumerate(places), repeat=2)
            if 0 <= j - i < 4
        }
        score, span = best_span(start, end, spans, max_tokens=4)
        assert score == pytest.approx(max(scores.values()))
        assert scores[span] == pytest.approx(score)


def test_a_window_without_context_has_no_span() -> None:
    assert best_span(torch.zeros(2), torch.zeros(2), [None, None], max_tokens=3) == (-math.inf, (0, 0))


def test_the_interval_of_a_mean() -> None:
    assert mean_interval([1.0]) is None
    assert mean_interval([0.2, 0.4, 0.6]) == (
        pytest.approx(0.4 - 1.96 * 0.2 / 3**0.5),
        pytest.approx(0.4 + 1.96 * 0.2 / 3**0.5),
    )
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)
