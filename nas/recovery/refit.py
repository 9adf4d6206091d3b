"""Refit: output weights fitted anew to what the kept units can say.

    W' = argmin ‖b - W' X‖² + λ ‖W' - W‖²   ⇔   (W' - W)(G + λ I) = C - W G,

a closed form of which mask tuning's factors are a special case. Local step of OSSCAR (arXiv:2403.12983) and of ZipLM
(arXiv:2302.04089); here the ridge pulls towards the present weights and not towards zero, so that a feature of which
the calibration examples say little keeps its weights.

With fewer tokens than features G is singular. The ridge makes the solution unique all the same, but as many
directions as there are tokens missing stay as they are, and the others fit these very tokens: give more.

Legend: D hidden_size, S features of the kept units.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from evaluators.inputs import Batch
from nas.recovery.base import Problem, solve_ridge
from nas.recovery.sweep import sweep
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, SublayerName
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

DAMPING = 0.1
"""On the bundled model with 2,048 tokens, 0.1 and 1 left the lowest loss on text held out, of 0.001 to 1; with more
tokens less would do."""


def refit(
    supernet: Supernet,
    sub_network: SubNetwork,
    batches: Sequence[Batch],
    *,
    sublayers: Sequence[SublayerName] = SUBLAYER_NAMES,
    residual: bool = True,
    damping: float = DAMPING,
) -> OutputWeights:
    """Fits the output weights of all kept sublayers anew, from the first layer to the last.

    Args:
        supernet: Left as it was.
        sub_network: Of its shape.
        batches: Calibration examples, labelled or not; more tokens than a layer has neurons are advised.
        sublayers: Which to refit.
        residual: As ``sweep`` takes it.
        damping: λ as a share of the mean diagonal of G; above 0.

    Raises:
        RecoveryError: There is no batch.
    """
    solve = partial(refitted_weights, damping=damping)
    return sweep(supernet, sub_network, batches, solve, sublayers=sublayers, residual=residual)


def refitted_weights(problem: Problem, *, damping: float) -> Tensor:
    """``(D, S)`` float64: W', or the present weights where there is no finite solution."""
    gap_DS = problem.cross_DS - problem.weight_DS @ problem.gram_SS
    return problem.weight_DS + solve_ridge(problem.gram_SS, gap_DS.T, damping=damping).T
