"""What trials tell of their recovery, by hand."""

from dataclasses import replace

from evaluators.base import NOT_RECOVERED, Measurement
from nas.front import compare_with_uniform
from nas.recovered import before_recovery, is_recovered, ranks, was_tried
from nas.trial import Trial
from tests.nas.trials import GOAL, trial


def with_recovery(one: Trial, after: float, *, flags: tuple[str, ...] = ()) -> Trial:
    before = one.measurements["minimal_pairs"]
    both = {
        "minimal_pairs": Measurement(value=after, unit="accuracy", flags=flags),
        "minimal_pairs_before_recovery": before,
    }
    return replace(one, measurements={**one.measurements, **both})


def test_a_trial_says_whether_it_was_tried_and_whether_it_helped() -> None:
    plain = trial(1, 0.5, 2.0)
    helped, vain = with_recovery(plain, 0.7), with_recovery(plain, 0.5, flags=(NOT_RECOVERED,))
    assert [was_tried(one) for one in (plain, helped, vain)] == [False, True, True]
    assert [is_recovered(one) for one in (plain, helped, vain)] == [False, True, False]
    assert before_recovery(helped).measurements["minimal_pairs"].value == 0.5
    assert before_recovery(plain) == plain


def test_ranks_are_places_among_the_recovered_and_ties_share_one() -> None:
    trials = [
        trial(0, 0.9, 5.0, "supernet"),
        with_recovery(trial(1, 0.5, 2.0), 0.8),
        with_recovery(trial(2, 0.6, 3.0), 0.7),
        with_recovery(trial(3, 0.6, 3.0), 0.6),
    ]
    assert ranks(trials, "minimal_pairs", maximize=True) == {1: (3, 1), 2: (1, 2), 3: (1, 3)}
    assert ranks(trials, "minimal_pairs", maximize=False) == {1: (1, 3), 2: (2, 2), 3: (2, 1)}
    assert ranks(trials, "decode_latency", maximize=False) == {}


def test_uniform_pruning_is_compared_by_the_scores_before_recovery() -> None:
    """Recovered, the member is better than the uniform model; before, it was not."""
    trials = [
        trial(0, 0.9, 5.0, "supernet"),
        trial(1, 0.6, 3.0, "uniform"),
        with_recovery(trial(2, 0.5, 2.0), 0.8),
    ]
    assert compare_with_uniform(trials, GOAL).startswith("No gain over uniform-width pruning")
    assert "(scores before recovery)" in compare_with_uniform(trials, GOAL)
