"""What every recovery must hold to, whether it works in every trial or trains finalists."""

from collections.abc import Callable, Sequence

import pytest
import torch

from evaluators.inputs import Batch
from nas.recovery import FINALIST_RECOVERIES, RECOVERIES, RECOVERY_NAMES
from nas.recovery.finalists import FinalistRecoverer
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, require_fitting
from nas.supernet.own_weights import OwnWeights, SubNetworkWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.recovery.problems import batches_of
from tests.nas.supernet.test_supernet import assert_equal_logits, candidates, logits_of
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids

families = pytest.mark.parametrize("family", TINY_MODELS)


Recovering = Callable[[Supernet, SubNetwork, Sequence[Batch]], SubNetworkWeights]


@pytest.fixture(params=RECOVERY_NAMES)
def recover(request: pytest.FixtureRequest) -> Recovering:
    if request.param in RECOVERIES:
        return lambda supernet, sub_network, batches: RECOVERIES[request.param](supernet, batches)(sub_network)
    quick = FINALIST_RECOVERIES[request.param](steps=2, rank=2, learning_rate=1e-4)
    return lambda supernet, sub_network, batches: FinalistRecoverer(quick, supernet, batches, seed=0)(sub_network)


def tensors(weights: SubNetworkWeights) -> dict[str, torch.Tensor]:
    """All of them, by a name."""
    if isinstance(weights, OwnWeights):
        return dict(weights.parameters)
    return {f"{name} {layer}": one for name in SUBLAYER_NAMES for layer, one in weights.of(name).items()}


def assert_same(first: SubNetworkWeights, second: SubNetworkWeights) -> None:
    found = tensors(second)
    assert tensors(first).keys() == found.keys()
    assert all(torch.equal(found[name], one) for name, one in tensors(first).items())


@families
def test_weights_fit_any_sub_network_and_activated_logits_are_extracted_logits(
    family: str, recover: Recovering
) -> None:
    supernet, ids = Supernet(tiny_model(family).double()), token_ids()
    for sub_network in candidates(supernet.shape)[1:9]:
        weights = recover(supernet, sub_network, batches_of(num_batches=1))
        if isinstance(weights, OutputWeights):
            require_fitting(weights, sub_network)
        with supernet.activate(sub_network, weights) as model:
            logits = logits_of(model, ids)
        assert logits.isfinite().all()
        assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), logits)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bert"])
def test_the_full_model_needs_no_recovery(family: str, recover: Recovering) -> None:
    supernet, ids = Supernet(tiny_model(family).double()), token_ids()
    expected = logits_of(supernet.model, ids)
    full = SubNetwork.full(supernet.shape)
    with supernet.activate(full, recover(supernet, full, batches_of())) as model:
        assert (logits_of(model, ids) - expected).norm() < 1e-3 * expected.norm()


def test_labels_are_not_looked_at(recover: Recovering) -> None:
    supernet, batches = Supernet(tiny_model("bert")), batches_of()
    sub_network = candidates(supernet.shape)[-1]
    labelled = [Batch(inputs=batch.inputs, labels={"labels": torch.zeros(6, dtype=torch.int64)}) for batch in batches]
    expected, actual = (recover(supernet, sub_network, examples) for examples in (batches, labelled))
    assert_same(expected, actual)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_have_the_dtype_of_the_model_and_no_gradient(dtype: torch.dtype, recover: Recovering) -> None:
    supernet = Supernet(tiny_model("llama").to(dtype))
    weights = recover(supernet, candidates(supernet.shape)[-1], batches_of())
    found = list(tensors(weights).values())
    assert found
    assert {one.dtype for one in found} == {dtype}
    assert not any(one.requires_grad for one in found)


def test_the_supernet_stays_as_it_was(recover: Recovering) -> None:
    supernet = Supernet(tiny_model("gpt2"))
    state = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    recover(supernet, candidates(supernet.shape)[-1], batches_of())
    assert supernet.active.is_full
    assert all(torch.equal(state[key], value) for key, value in supernet.model.state_dict().items())


def test_a_recovery_twice_is_the_same(recover: Recovering) -> None:
    supernet, batches = Supernet(tiny_model("phi3")), batches_of()
    sub_network = candidates(supernet.shape)[-2]
    first, second = (recover(supernet, sub_network, batches) for _ in range(2))
    assert_same(first, second)
