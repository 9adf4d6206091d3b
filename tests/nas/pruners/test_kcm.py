"""KCM's claim: no gradient and no label anywhere on its path."""

from typing import Any

import numpy as np
import pytest
import torch

from evaluators.inputs import Batch
from nas.pruners import BudgetTooSmallError, Evidence, flops_costs, pruner_named
from nas.pruners.kcm import kcm_scores
from nas.recovery import recovery_named
from nas.recovery.recoverer import Recoverer
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids


class Untouchable(dict[str, Any]):
    """Labels that fail whoever looks at them."""

    def __getitem__(self, key: str) -> Any:
        raise AssertionError("a label was read")

    def items(self) -> Any:
        raise AssertionError("labels were read")

    def values(self) -> Any:
        raise AssertionError("labels were read")


def refuse(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("a gradient was asked for")


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_no_gradient_and_no_label(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = Supernet(tiny_model(family))
    supernet.model.requires_grad_(True)  # so that a forward pass with gradients would be seen
    batch = Batch(inputs={"input_ids": token_ids(4)}, labels=Untouchable(labels=None))
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    costs = flops_costs(supernet, context_tokens=16)
    outputs: list[torch.Tensor] = []
    supernet.layers[0].register_forward_hook(lambda _, __, output: outputs.append(output))
    sub_network = pruner_named("kcm")(Evidence(supernet, [batch]), costs, 0.85 * costs.total(supernet.shape))
    weights = Recoverer(recovery_named("rescale"), supernet, [batch])(sub_network)
    assert weights is not None
    assert outputs
    assert not any(output.requires_grad for output in outputs)
    assert all(sub_network.num_heads[layer] == supernet.shape.num_heads for layer in range(supernet.shape.num_layers))
    assert not weights.attention
    assert all(not tensor.requires_grad for tensor in weights.mlp.values())


def test_scores_are_products_of_two_shares() -> None:
    scores_LN = kcm_scores(Evidence(Supernet(tiny_model("llama")), batches_of(token_ids(4))))
    assert scores_LN.min() >= 0
    assert scores_LN.max() <= 1


def test_a_neuron_that_never_fires_goes_first() -> None:
    supernet = Supernet(tiny_model("opt"))
    layer: Any = supernet.layers[1]
    with torch.no_grad():
        layer.fc1.weight[5], layer.fc1.bias[5] = 0, -100  # ReLU
    scores_LN = kcm_scores(Evidence(supernet, batches_of(token_ids(4))))
    assert scores_LN[1, 5] == scores_LN.min() == 0


def test_an_mlp_that_never_fires_goes_first() -> None:
    supernet = Supernet(tiny_model("opt"))
    layer: Any = supernet.layers[1]
    with torch.no_grad():
        layer.fc1.weight.zero_()
        layer.fc1.bias.fill_(-1.0)  # ReLU
    scores_LN = kcm_scores(Evidence(supernet, batches_of(token_ids(4))))
    assert scores_LN[1].max() == 0 < scores_LN.max()


def test_constant_activations_do_not_decide() -> None:
    """All neurons of a layer fire alike: the weights decide, and nothing is NaN."""
    supernet = Supernet(tiny_model("opt"))
    layer: Any = supernet.layers[1]
    with torch.no_grad():
        layer.fc1.weight.zero_()
        layer.fc1.bias.fill_(1.0)
    scores_LN = kcm_scores(Evidence(supernet, batches_of(token_ids(4))))
    assert np.isfinite(scores_LN).all()
    assert len(np.unique(scores_LN[1])) > 1


def test_heads_alone_above_the_budget() -> None:
    supernet = Supernet(tiny_model("llama"))
    costs = flops_costs(supernet, context_tokens=16)
    with pytest.raises(BudgetTooSmallError, match="KCM keeps all heads, which needs"):
        pruner_named("kcm")(Evidence(supernet, batches_of(token_ids())), costs, 0.3 * costs.total(supernet.shape))
