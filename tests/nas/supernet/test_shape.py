import pytest
import torch
from transformers import Gemma3TextConfig, GPT2Config, MistralConfig, Phi3Config

from nas.supernet.shape import shape_of
from nas.supernet.supernet import Supernet
from search_spaces.shape import Matrix, SupernetShape
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model

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


@pytest.mark.parametrize(
    ("name", "rotary_dims"),
    [("bert", 0), ("gpt2", 0), ("opt", 0), ("llama", 4), ("qwen3", 8), ("gemma2", 8), ("gpt_neox", 2), ("phi3", 4)],
)
def test_rotated_dimensions_are_as_many_as_cosines(name: str, rotary_dims: int) -> None:
    model = tiny_model(name)
    assert shape_of(model.config).rotary_dims == rotary_dims
    assert shape_of(model.config).whole_queries == (name == "qwen3")
    if rotary_dims:
        rotary = next(module for path, module in model.named_modules() if path.endswith("rotary_emb"))
        hidden_BTD, positions_BT = torch.zeros(1, 2, 32), torch.arange(2)[None]
        assert rotary(hidden_BTD, positions_BT)[0].shape[-1] == rotary_dims


def test_phi_with_partial_rotation() -> None:
    config = Phi3Config(hidden_size=64, num_attention_heads=4, partial_rotary_factor=0.5, pad_token_id=0)
    assert shape_of(config).rotary_dims == 8


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("llama", ("q_proj", 32, 32), ("down_proj", 32, 24)),
        ("phi3", ("qkv_proj", 64, 32), ("down_proj", 32, 24)),
        ("gpt2", ("c_attn", 96, 32), ("mlp.c_proj", 32, 128)),
        ("bert", ("query", 32, 32), ("output.dense", 32, 24)),
    ],
)
def test_matrices_by_the_end_of_their_path_or_all_of_it(
    name: str, first: tuple[str, int, int], last: tuple[str, int, int]
) -> None:
    """Fused ones as they are stored, output rows by input columns; GPT-2 and BERT have several that end alike."""
    matrices = Supernet(tiny_model(name)).shape.matrices
    expected = [
        Matrix(name=matrix, sublayer=sublayer, num_outputs=num_outputs, num_inputs=num_inputs)
        for (matrix, num_outputs, num_inputs), sublayer in ((first, "attention"), (last, "mlp"))
    ]
    assert [matrices[0], matrices[-1]] == expected


@pytest.mark.parametrize("name", TINY_MODELS)
def test_names_of_matrices_are_unique(name: str) -> None:
    names = [matrix.name for matrix in Supernet(tiny_model(name)).shape.matrices]
    assert len(set(names)) == len(names)
