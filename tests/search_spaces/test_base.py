import numpy as np
import pytest

from search_spaces.base import Choice, UnitRanking, as_sizes, largest, neighbours, num_candidates, smallest
from search_spaces.uniform import UniformSpace
from tests.search_spaces.spaces import GQA

SPACE = UniformSpace(GQA, UnitRanking.as_numbered(GQA), neurons_multiple_of=8)  # 2 KV groups, 4 widths


@pytest.mark.parametrize("sizes", [(), (2, 1), (1, 1)])
def test_sizes_must_ascend(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sizes of choice 'x' must ascend strictly"):
        Choice(name="x", sizes=sizes)


def test_the_best_units_are_kept() -> None:
    ranking = UnitRanking.as_numbered(GQA)
    ranking.kv_groups_LK[1] = [1, 0]
    ranking.heads_LKG[1, 1] = [3, 2]
    ranking.neurons_LN[1] = np.arange(32)[::-1]
    sub_network = ranking.keep_best(
        GQA, kv_groups_L=np.array([2, 1, 0]), heads_per_group_L=np.array([2, 1, 0]), neurons_L=np.array([32, 2, 0])
    )
    assert sub_network.heads_LH.astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert [np.flatnonzero(kept).tolist() for kept in sub_network.neurons_LN] == [list(range(32)), [30, 31], []]


def test_the_ends_and_the_number_of_candidates() -> None:
    assert smallest(SPACE) == (0, 0)
    assert largest(SPACE) == (1, 3)
    assert num_candidates(SPACE) == 8
    assert as_sizes(SPACE, (0, 2)) == {"kv_groups": 1, "neurons": 24}


def test_neighbours_are_one_step_away() -> None:
    assert set(neighbours(SPACE, (0, 0))) == {(1, 0), (0, 1)}
    assert set(neighbours(SPACE, (1, 2))) == {(0, 2), (1, 1), (1, 3)}
