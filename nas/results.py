"""What a search has found so far, wherever it is kept: its trials, its goal and its front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nas.front import Goal, compare_with_uniform, front_of
from nas.objectives import Constraint, Objective
from nas.trial import Judged, Trial, TrialState
from search_spaces.shape import Matrix, SupernetShape

T = TypeVar("T", bound=Judged)


class ResultsError(ValueError):
    """A search that has not found what is asked for; the message says what there is."""


class FailedTrialError(ValueError):
    """A trial that failed, where one that was measured is needed; the message says why it failed."""


def unknown_trial(number: int, num_trials: int) -> ResultsError:
    """That a search has no trial of this number."""
    return ResultsError(
        f"A trial's number must be one of 0 to {num_trials - 1}, got {number}; the front lists the best."
    )


def refuse_failed(number: int, state: TrialState, reason: str) -> None:
    """Checks that a trial may be exported: of one that failed nobody knows whether its model runs or how good it is.

    Raises:
        FailedTrialError: It failed.
    """
    if state is TrialState.FAILED:
        why = " ".join(reason.split()).rstrip(".")
        raise FailedTrialError(
            f"An export must be of a trial that was measured, but trial {number} failed ({why}); choose one of the "
            "front."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Generic[T]):
    """A search as it stands, in numbers.

    Attributes:
        trials: All of them, by number; the first is the supernet's.
        goal: What is optimised, within which budgets.
        record: The content of ``front.json``.
    """

    trials: tuple[T, ...]
    goal: Goal
    record: Mapping[str, Any]

    @property
    def supernet(self) -> T:
        """The trial of the supernet itself."""
        return next(trial for trial in self.trials if trial.source == "supernet")

    @property
    def aliases(self) -> dict[str, str]:
        """Names of evaluators to the one measurement each serves."""
        return dict(self.record["search"]["measurement_of_evaluator"])

    def front(self) -> list[T]:
        """Its members."""
        return front_of(self.trials, self.goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Standing[Trial]):
    """A search as it stands, with the sub-networks that were tried.

    Attributes:
        shape: Of its supernet.
    """

    shape: SupernetShape

    def trial(self, number: int) -> Trial:
        """The trial of that number.

        Raises:
            ResultsError: There is none.
        """
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise unknown_trial(number, len(self.trials))

    def comparison(self) -> str:
        """How the front stands to uniform-width pruning."""
        return compare_with_uniform(self.trials, self.goal)


def results_of(shape: SupernetShape, trials: Sequence[Trial], record: Mapping[str, Any]) -> Results:
    """A search's results from what was stored.

    Raises:
        KeyError, TypeError: The record is no front.
    """
    return Results(shape=shape, trials=tuple(trials), goal=goal_of(record), record=record)


def goal_of(record: Mapping[str, Any]) -> Goal:
    """The goal that a front was made for.

    Raises:
        KeyError, TypeError: The record is no front.
    """
    return Goal(
        objectives=tuple(
            Objective(name=one["name"], unit=one["unit"], direction=one["direction"]) for one in record["objectives"]
        ),
        constraints=tuple(Constraint.from_json(one) for one in record["constraints"]),
    )


def shape_from_record(record: Mapping[str, Any]) -> SupernetShape:
    """The shape that ``shape_to_json`` wrote.

    Raises:
        KeyError, TypeError, ValueError: It is none.
    """
    return SupernetShape(
        **{
            **record,
            "required_attention": tuple(record["required_attention"]),
            "matrices": tuple(Matrix(**matrix) for matrix in record.get("matrices", ())),
        }
    )
