"""Refit from Gram matrices gathered once: no forward pass for a candidate, whatever it keeps.

With G = X Xᵀ of the full model's features, the output weights with which the units S best say what all units said are

    W' = argmin ‖W X - W' X_S‖² + λ ‖W' - W_S‖²,      C = W G[:, S],

the closed form of ``refit`` with sums that are cut out of G. Layer errors are met one by one and not passed on: a
later sublayer does not know what earlier ones miss, which ``refit`` makes good at the price of a sweep a candidate.
The local step of DarwinLM (arXiv:2502.07780) and OSSCAR (arXiv:2403.12983), which keep such a bank of layers.

Legend: D hidden_size, F features of all units, S of the kept ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.recovery.base import Problem, RecoveryError
from nas.recovery.refit import DAMPING, refitted_weights
from nas.supernet.importance.gram import gram_matrices
from nas.supernet.importance.recording import output_weight
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, SublayerName, sublayer_of
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


class GramRefit:
    """Output weights of any sub-network, from one pass over the examples.

    The Gram matrices of all sublayers stay in memory, in float32: 4 (F² + N²) bytes a layer for F attention features
    and N neurons.

    Args:
        supernet: Its weights may be reordered afterwards.
        batches: Calibration examples; labels are not looked at.
        damping: λ as a share of the mean diagonal of G[S, S].

    Raises:
        RecoveryError: There is no batch.
    """

    def __init__(self, supernet: Supernet, batches: Sequence[Batch], *, damping: float = DAMPING) -> None:
        if not batches:
            raise RecoveryError(
                "A recovery needs at least one batch of calibration examples, got none; give some text."
            )
        self._supernet = supernet
        self._damping = damping
        full = SubNetwork.full(supernet.shape)
        self._grams: dict[SublayerName, list[Tensor]] = {}
        with supernet.activate(full):
            for name in SUBLAYER_NAMES:
                grams = gram_matrices(supernet, sublayer_of(supernet.family, name), batches)
                self._grams[name] = [
                    gram_FF[positions_F][:, positions_F]
                    for gram_FF, positions_F in (
                        (gram_FF, supernet.feature_positions(full, layer, name)) for layer, gram_FF in enumerate(grams)
                    )
                ]

    @torch.no_grad()
    def __call__(self, sub_network: SubNetwork) -> OutputWeights:
        """Weights of every sublayer that has lost units; in the model's dtype."""
        found: dict[SublayerName, dict[int, Tensor]] = {name: {} for name in SUBLAYER_NAMES}
        full, shape = SubNetwork.full(self._supernet.shape), self._supernet.shape
        with self._supernet.activate(full):
            for layer, module in enumerate(self._supernet.layers):
                for name in SUBLAYER_NAMES:
                    kept_S = _kept_features(sub_network, layer, name)
                    if len(kept_S) in {0, len(self._grams[name][layer])}:
                        continue
                    stored_DF = output_weight(module, sublayer_of(self._supernet.family, name))
                    positions_F = self._supernet.feature_positions(full, layer, name)
                    weight_DF = stored_DF.double().cpu()[:, positions_F]
                    gram_FS = self._grams[name][layer][:, kept_S].double()
                    problem = Problem(
                        gram_SS=gram_FS[kept_S],
                        cross_DS=weight_DF @ gram_FS,
                        weight_DS=weight_DF[:, kept_S],
                        unit_width=shape.head_dim if name == "attention" else 1,
                    )
                    weight_DS = refitted_weights(problem, damping=self._damping).to(stored_DF.dtype)
                    if bool(weight_DS.isfinite().all()):  # a number may fit float64 and not float16
                        found[name][layer] = weight_DS
        return OutputWeights(attention=found["attention"], mlp=found["mlp"])


def _kept_features(sub_network: SubNetwork, layer: int, name: SublayerName) -> Tensor:
    """``(S,)`` int64: features of kept units by ascending unit number."""
    if name == "mlp":
        return torch.from_numpy(sub_network.neurons_LN[layer].copy()).nonzero()[:, 0]
    heads_H = torch.from_numpy(sub_network.heads_LH[layer].copy())
    return heads_H.repeat_interleave(sub_network.shape.head_dim).nonzero()[:, 0]
