"""What pruners cannot do."""

from typing import Self


class BudgetTooSmallError(ValueError):
    """A budget below the least that a method can keep."""

    @classmethod
    def of(cls, cost: str, method: str, *, least: float, received: float) -> Self:
        """The sentence.

        Args:
            cost: What the budget limits, such as ``flops``.
            method: What keeps at least so much, for people.
            least: What it keeps at least.
            received: The budget.
        """
        return cls(
            f"A budget must leave room for the least that is kept: {method} needs {least:.6g} {cost}, "
            f"got {received:.6g}; raise the budget or take another pruner."
        )


class PrunerInputError(ValueError):
    """Scores, gradients, weights, costs or measurements that no units can be chosen by."""
