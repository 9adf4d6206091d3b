import numpy as np
import pytest

from search_spaces import make_space
from search_spaces.base import SearchSpaceError, UnitRanking, sample
from search_spaces.loadable import TARGETS, Limits, limits_for
from tests.search_spaces.spaces import GQA, MHA, TWO_CACHES, all_candidates


def test_an_unknown_target_lists_the_targets() -> None:
    with pytest.raises(SearchSpaceError, match="transformers, vllm, gguf, got 'ollama'"):
        limits_for(("vllm", "ollama"), GQA)


def test_a_target_that_cannot_load_the_supernet_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match=r"multiples of 32, and the supernet itself has 20.*leave gguf out"):
        limits_for(("gguf",), MHA)


def test_no_target_is_no_limit() -> None:
    assert limits_for((), MHA) == Limits()


def test_limits_add_up() -> None:
    assert limits_for(tuple(TARGETS), TWO_CACHES) == Limits(neurons_multiple_of=32, mlp_needs_attention=True)


@pytest.mark.parametrize("type", ["uniform", "per_layer", "joint"])
def test_gguf_widths_are_multiples_of_32(type: str) -> None:
    space = make_space(
        type, TWO_CACHES, UnitRanking.as_numbered(TWO_CACHES), neurons_multiple_of=16, loadable_by=("gguf",)
    )
    widths = {width for candidate in all_candidates(space) for width in space.sub_network(candidate).num_neurons}
    assert widths == ({0, 32, 64} if type == "joint" else {32, 64})


@pytest.mark.parametrize(("type", "options"), [("joint", {"heads": "head"}), ("layer_drop", {"drop": "sublayer"})])
def test_vllm_layers_without_attention_are_no_layers(type: str, options: dict[str, str]) -> None:
    space = make_space(type, GQA, UnitRanking.as_numbered(GQA), loadable_by=("vllm",), **options)
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(200):
        sub_network = space.sub_network(sample(space, rng))
        kinds |= set(zip(np.sign(sub_network.num_heads), np.sign(sub_network.num_neurons), strict=True))
    assert kinds == {(1, 1), (1, 0), (0, 0)}
