from dataclasses import replace

import pytest

from tests.search_spaces.spaces import GQA


def test_heads_per_group() -> None:
    assert GQA.heads_per_group == 2


@pytest.mark.parametrize("name", ["num_layers", "num_heads", "num_kv_groups", "num_neurons", "head_dim", "hidden_size"])
def test_counts_start_at_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        replace(GQA, **{name: 0})  # type: ignore[arg-type]


def test_heads_are_a_multiple_of_groups() -> None:
    with pytest.raises(ValueError, match="multiple of num_kv_groups=4, got 30; choose 28"):
        replace(GQA, num_heads=30, num_kv_groups=4)


@pytest.mark.parametrize("layers", [(), (1,), (0, 3), (0, -1)])
def test_required_attention_holds_layer_0_and_existing_layers(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="required_attention must hold layer 0 and only layers below 3"):
        replace(GQA, required_attention=layers)
