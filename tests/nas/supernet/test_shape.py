import pytest
from transformers import Gemma3TextConfig, GPT2Config, MistralConfig

from nas.supernet.shape import shape_of
from search_spaces.shape import SupernetShape
from tests.nas.supernet.tiny_models import TINY_MODELS

GROUPED = {"llama": 4, "mistral": 8, "qwen2": 4, "qwen3": 8, "gemma2": 8, "gemma3_text": 8, "phi3": 4}
"""Head dimensions of the families with KV groups."""


@pytest.mark.parametrize("name", TINY_MODELS)
def test_dimensions_under_every_familys_names(name: str) -> None:
    _, make_config = TINY_MODELS[name]
    assert shape_of(make_config()) == SupernetShape(
        num_layers=4,
        num_heads=8,
        num_kv_groups=4 if name in GROUPED else 8,
        num_neurons=128 if name == "gpt2" else 24,  # 4 times the hidden size unless n_inner says otherwise
        head_dim=GROUPED.get(name, 4),
        hidden_size=32,
        required_attention=(0, 1) if name.startswith("gemma") else (0,),
    )


def test_gpt2_with_a_width_of_its_own() -> None:
    assert shape_of(GPT2Config(n_embd=32, n_head=4, n_inner=40)).num_neurons == 40


def test_head_dimension_that_is_not_the_quotient() -> None:
    config = MistralConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    assert shape_of(config).head_dim == 16


@pytest.mark.parametrize(
    ("layer_types", "required"),
    [
        (["full_attention"] * 4, (0,)),
        (["sliding_attention", "full_attention"] * 2, (0, 1)),
        (["sliding_attention"] * 3 + ["full_attention"], (0, 3)),
    ],
)
def test_first_attention_of_each_type_is_required(layer_types: list[str], required: tuple[int, ...]) -> None:
    config = Gemma3TextConfig(
        num_hidden_layers=4, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, layer_types=layer_types
    )
    assert shape_of(config).required_attention == required
