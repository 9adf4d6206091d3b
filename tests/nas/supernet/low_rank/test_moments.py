"""Gram matrices against inputs caught by hand."""

from typing import Any

import pytest
import torch

from evaluators.inputs import Batch
from nas.supernet.low_rank import directions
from nas.supernet.low_rank.moments import input_grams
from nas.supernet.supernet import Supernet
from tests.nas.supernet.low_rank.test_stand_ins import random_ranks
from tests.nas.supernet.tiny_models import TINY_MODELS, batches_of, tiny_model, token_ids


@pytest.mark.parametrize("name", TINY_MODELS)
def test_grams_are_of_what_enters_each_matrix_without_padding(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    mask_BT = torch.ones(3, 12, dtype=torch.long)
    mask_BT[0, 7:] = 0
    batch = Batch(inputs={"input_ids": token_ids(), "attention_mask": mask_BT})
    caught: dict[tuple[int, str], Any] = {}

    def catch(index: int, path: str) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            del module
            caught[index, path] = inputs[0].detach().double().flatten(0, -2)[mask_BT.bool().flatten()]

        return hook

    handles = [
        layer.get_submodule(projection.path).register_forward_pre_hook(catch(index, projection.path))
        for index, layer in enumerate(supernet.layers)
        for projection in supernet.family.projections
    ]
    with torch.no_grad():
        supernet.model(**batch.inputs)
    for handle in handles:
        handle.remove()
    wanted = range(1, 3)
    grams = input_grams(supernet.model, supernet.layers, supernet.family, [batch, batch], wanted=wanted)
    assert list(grams) == list(wanted)
    for index in wanted:
        for projection in supernet.family.projections:
            features_TI = caught[index, projection.path]
            expected = 2 * features_TI.T @ features_TI
            torch.testing.assert_close(grams[index][projection.path], expected, rtol=1e-12, atol=1e-12)
    assert not any(module._forward_pre_hooks for module in supernet.model.modules())


def test_several_passes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    for max_bytes in (directions.MAX_BYTES, 1):
        monkeypatch.setattr(directions, "MAX_BYTES", max_bytes)
        supernet = Supernet(tiny_model("llama").double())
        supernet.order_directions_by(batches_of(token_ids()))
        found = supernet._directions.of(random_ranks(supernet))
        products.append([factors.product(rank) for rank, factors in found.values()])
    for one, other in zip(*products, strict=True):
        torch.testing.assert_close(one, other)
