"""Masks where a model's layers are; what they compute is checked with its sub-networks."""

import torch

from nas.supernet.masking import UnitScales, scaled
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import tiny_model


def test_scales_follow_layers_to_other_devices() -> None:
    """A model that needs several GPUs has its embedding on one and layers on others."""
    supernet = Supernet(tiny_model("llama"))
    full = SubNetwork.full(supernet.shape)
    layer, ones = supernet.layers[-1].to("meta"), UnitScales.of(full, dtype=torch.float32, device=supernet.device)
    assert supernet.device == torch.device("cpu")
    with scaled(supernet, ones):
        features_TN = torch.empty(2, supernet.shape.num_neurons, device="meta")
        projected = layer.get_submodule(supernet.family.mlp.output)(features_TN)
    assert projected.shape == (2, supernet.shape.hidden_size)
