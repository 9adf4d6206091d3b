"""Rescaling is mask tuning of the neurons alone."""

import torch

from nas.recovery.mask_tuning import mask_tuning
from nas.recovery.rescale import rescale
from nas.supernet.supernet import Supernet
from tests.nas.recovery.problems import batches_of
from tests.nas.supernet.test_supernet import candidates
from tests.nas.supernet.tiny_models import tiny_model


def test_heads_keep_their_weights_and_neurons_get_factors() -> None:
    supernet, batches = Supernet(tiny_model("llama")), batches_of()
    sub_network = candidates(supernet.shape)[-1]
    rescaled = rescale(supernet, sub_network, batches)
    tuned = mask_tuning(supernet, sub_network, batches, sublayers=("mlp",))
    assert not rescaled.attention
    assert set(rescaled.mlp) == {index for index, count in enumerate(sub_network.num_neurons) if count}
    for index, weight_DS in rescaled.mlp.items():
        assert torch.equal(weight_DS, tuned.mlp[index])
        kept_N = torch.from_numpy(sub_network.neurons_LN[index].copy())
        down_DS = supernet.layers[index].get_submodule("mlp.down_proj").get_parameter("weight")[:, kept_N]
        ratio_DS = weight_DS / down_DS
        torch.testing.assert_close(ratio_DS, ratio_DS[:1].expand_as(ratio_DS), rtol=1e-4, atol=1e-4)
