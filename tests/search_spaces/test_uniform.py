import numpy as np

from search_spaces.base import UnitRanking, as_sizes
from search_spaces.sub_network import SubNetwork
from search_spaces.uniform import UniformSpace
from tests.search_spaces.spaces import GQA, all_candidates, shuffled_ranking


def test_choices_are_shared_by_all_layers() -> None:
    space = UniformSpace(GQA, UnitRanking.as_numbered(GQA), heads="head", neurons_multiple_of=16)
    assert [choice.name for choice in space.choices] == ["kv_groups", "heads_per_group", "neurons"]
    assert all(space.sub_network(candidate).is_uniform for candidate in all_candidates(space))


def test_each_layer_keeps_its_own_best() -> None:
    ranking = shuffled_ranking(GQA, seed=5)
    sub_network = UniformSpace(GQA, ranking, neurons_multiple_of=16).sub_network((0, 0))
    for layer in range(GQA.num_layers):
        assert np.flatnonzero(sub_network.kv_groups_LK[layer]).tolist() == [ranking.kv_groups_LK[layer, 0]]
        assert set(np.flatnonzero(sub_network.neurons_LN[layer])) == set(ranking.neurons_LN[layer, :16])


def test_nearest_averages_over_layers() -> None:
    space = UniformSpace(GQA, UnitRanking.as_numbered(GQA), heads="head", neurons_multiple_of=8)
    heads_LH = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=np.bool_)  # 3 groups, 6 heads over 3 layers
    neurons_LN = np.zeros((3, 32), dtype=np.bool_)
    neurons_LN[0], neurons_LN[1, :20] = True, True  # 52 over 3 layers: 17 each
    nearest = space.nearest(SubNetwork(shape=GQA, heads_LH=heads_LH, neurons_LN=neurons_LN))
    assert as_sizes(space, nearest) == {"kv_groups": 1, "heads_per_group": 2, "neurons": 16}
