import numpy as np
import pytest

from search_spaces.base import SearchSpaceError, UnitRanking, as_sizes, largest, smallest
from search_spaces.low_rank import LowRankSpace, uniform_ranks, weights_kept, with_ranks
from search_spaces.shape import Matrix, SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(
    num_layers=2,
    num_heads=2,
    num_kv_groups=2,
    num_neurons=192,
    head_dim=32,
    hidden_size=64,
    matrices=(
        Matrix(name="qkv_proj", sublayer="attention", num_outputs=192, num_inputs=64),
        Matrix(name="o_proj", sublayer="attention", num_outputs=64, num_inputs=64),
        Matrix(name="up_proj", sublayer="mlp", num_outputs=192, num_inputs=64),
        Matrix(name="down_proj", sublayer="mlp", num_outputs=64, num_inputs=192),
    ),
)
RANKING = UnitRanking.as_numbered(SHAPE)


def test_sizes_are_multiples_below_break_even_and_the_full_rank() -> None:
    """64 x 64 breaks even at rank 32, where nothing is gained; 192 x 64 at 48."""
    space = LowRankSpace(SHAPE, RANKING, ranks_multiple_of=16)
    assert {choice.name: choice.sizes for choice in space.choices[:2]} == {
        "layer_0.qkv_proj.rank": (16, 32, 64),
        "layer_0.o_proj.rank": (16, 64),
    }
    assert len(space.choices) == 2 * 4


def test_the_default_step_leaves_about_eight_ranks() -> None:
    space = LowRankSpace(SHAPE, RANKING)
    assert space.choices[0].sizes == (*range(6, 48, 6), 64)
    large = Matrix(name="up_proj", sublayer="mlp", num_outputs=14336, num_inputs=4096)  # breaks even at 3185
    shape = SupernetShape(
        num_layers=1,
        num_heads=32,
        num_kv_groups=8,
        num_neurons=14336,
        head_dim=128,
        hidden_size=4096,
        matrices=(large,),
    )
    assert LowRankSpace(shape, UnitRanking.as_numbered(shape)).choices[0].sizes == (*range(392, 3186, 392), 4096)


def test_some_matrices_alone() -> None:
    space = LowRankSpace(SHAPE, RANKING, matrices=["down_proj", "o_proj"])
    assert [choice.name for choice in space.choices[:2]] == ["layer_0.o_proj.rank", "layer_0.down_proj.rank"]
    ranks_LM = space.sub_network(smallest(space)).ranks_LM
    assert ranks_LM is not None
    assert ranks_LM.tolist() == [[0, 4, 0, 6]] * 2


def test_the_full_rank_is_the_matrix_itself() -> None:
    space = LowRankSpace(SHAPE, RANKING)
    candidate = (*largest(space)[:-1], 0)
    ranks_LM = space.sub_network(candidate).ranks_LM
    assert ranks_LM is not None
    assert ranks_LM.tolist() == [[0, 0, 0, 0], [0, 0, 0, 6]]


def test_nearest_is_never_above() -> None:
    space = LowRankSpace(SHAPE, RANKING, ranks_multiple_of=16)
    wanted = with_ranks(SHAPE, np.array([[47, 20, 64, 3], [0, 16, 50, 31]]))
    sizes = list(as_sizes(space, space.nearest(wanted)).values())
    assert sizes == [32, 16, 64, 16, 64, 16, 32, 16]


def test_nearest_of_what_is_cut_in_other_ways_is_the_supernet() -> None:
    space = LowRankSpace(SHAPE, RANKING)
    half = RANKING.keep_best(
        SHAPE, kv_groups_L=np.ones(2, int), heads_per_group_L=np.ones(2, int), neurons_L=np.array([96, 0])
    )
    assert space.nearest(half) == largest(space)


def test_uniform_ranks_keep_the_share_of_weights_rounded_down() -> None:
    half = uniform_ranks(SHAPE, 0.5)
    assert half.ranks_LM is not None
    assert half.ranks_LM.tolist() == [[24, 16, 24, 24]] * 2
    assert weights_kept(half) == 0.5
    assert weights_kept(uniform_ranks(SHAPE, 1e-9)) == pytest.approx((3 * 256 + 128) / (3 * 192 * 64 + 64 * 64))


def test_weights_kept_counts_no_more_than_the_matrix() -> None:
    assert weights_kept(SubNetwork.full(SHAPE)) == 1
    assert weights_kept(with_ranks(SHAPE, np.array([[64, 64, 64, 64], [0, 0, 0, 0]]))) == 1


def test_an_unknown_matrix_lists_the_known() -> None:
    with pytest.raises(SearchSpaceError, match="among qkv_proj, o_proj, up_proj, down_proj, got 'q_proj'; choose"):
        LowRankSpace(SHAPE, RANKING, matrices=["q_proj"])


@pytest.mark.parametrize("step", [0, -8, 32])
def test_a_step_that_leaves_no_rank_is_refused(step: int) -> None:
    with pytest.raises(SearchSpaceError, match=rf"which for \w+ is \d+, got {step}; choose \d"):
        LowRankSpace(SHAPE, RANKING, ranks_multiple_of=step)


def test_matrices_too_small_to_factorise_are_no_choice() -> None:
    one = Matrix(name="up_proj", sublayer="mlp", num_outputs=2, num_inputs=1)
    shape = SupernetShape(
        num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=2, head_dim=1, hidden_size=1, matrices=(one,)
    )
    assert LowRankSpace(shape, UnitRanking.as_numbered(shape)).choices == ()
