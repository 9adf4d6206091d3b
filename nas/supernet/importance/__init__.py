"""How much each unit of a supernet matters, one method a file."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from evaluators.inputs import Batch
from nas.supernet.importance.activation import activation_importance
from nas.supernet.importance.base import DimScores, ImportanceError, UnitScores, rank, rank_within_heads
from nas.supernet.importance.block_influence import block_influence
from nas.supernet.importance.fisher import fisher_importance
from nas.supernet.importance.flap import flap_importance
from nas.supernet.importance.magnitude import magnitude_importance
from nas.supernet.importance.taylor import taylor_importance
from nas.supernet.importance.wanda import wanda_importance
from nas.supernet.importance.within_heads import DIM_IMPORTANCES
from nas.supernet.supernet import Supernet

Importance = Callable[[Supernet, Sequence[Batch]], UnitScores]

IMPORTANCES: dict[str, Importance] = {
    "magnitude": magnitude_importance,
    "activation": activation_importance,
    "wanda": wanda_importance,
    "flap": flap_importance,
    "taylor": taylor_importance,
    "fisher": fisher_importance,
    "block_influence": block_influence,
}
"""Methods by name: supernet and calibration batches to scores, higher = keep."""


def importance_scores(name: str, supernet: Supernet, batches: Sequence[Batch]) -> UnitScores:
    """The scores of one method.

    Args:
        name: A key of ``IMPORTANCES``.
        supernet: With its weights in their original order and nothing active.
        batches: Calibration examples.

    Raises:
        ImportanceError: An unknown method, or a model that the method cannot score.
    """
    if name not in IMPORTANCES:
        nearest = get_close_matches(name, IMPORTANCES, n=1, cutoff=0.0)[0]
        raise ImportanceError(
            f"An importance must be one of {', '.join(IMPORTANCES)}; got {name!r}; did you mean {nearest!r}?"
        )
    return IMPORTANCES[name](supernet, batches)


__all__ = [
    "DIM_IMPORTANCES",
    "IMPORTANCES",
    "DimScores",
    "Importance",
    "ImportanceError",
    "UnitScores",
    "importance_scores",
    "rank",
    "rank_within_heads",
]
