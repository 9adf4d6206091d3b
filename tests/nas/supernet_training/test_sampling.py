import numpy as np
import pytest

from nas.supernet_training.sampling import CalibratedSampler, RandomSampler, SamplingError
from search_spaces import make_space
from search_spaces.base import SearchSpace, UnitRanking, sample, smallest
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=6, num_heads=8, num_kv_groups=4, num_neurons=256, head_dim=8, hidden_size=64)
NUM_DRAWN, NUM_BINS = 400, 8


def units(sub_network: SubNetwork) -> float:
    return 24 * sum(sub_network.num_heads) + sum(sub_network.num_neurons)


def space_of(kind: str, **options: object) -> SearchSpace:
    return make_space(kind, SHAPE, UnitRanking.as_numbered(SHAPE), **options)


def counts(sampler: RandomSampler | CalibratedSampler, edges: tuple[float, ...]) -> list[int]:
    rng = np.random.default_rng(0)
    costs = [units(sampler.draw(rng)) for _ in range(NUM_DRAWN)]
    return np.histogram(costs, bins=edges)[0].tolist()


def test_bins_are_drawn_evenly_where_plain_sampling_piles_up() -> None:
    """Within four standard deviations of a binomial count in every bin; plain sampling leaves the ends empty."""
    space = space_of("joint", neurons_multiple_of=32)
    sampler = CalibratedSampler.over(space, units, num_bins=NUM_BINS, seed=0)
    expected = NUM_DRAWN / NUM_BINS
    deviation = (NUM_DRAWN / NUM_BINS * (1 - 1 / NUM_BINS)) ** 0.5
    assert all(abs(count - expected) < 4 * deviation for count in counts(sampler, sampler.edges))
    plain = counts(RandomSampler(space=space), sampler.edges)
    assert sum(plain) == NUM_DRAWN
    assert plain[0] == plain[-1] == 0
    assert max(plain) > 2 * expected


def test_plain_sampling_is_that_of_the_space() -> None:
    space = space_of("joint", neurons_multiple_of=32)
    drawn = RandomSampler(space=space).draw(np.random.default_rng(3))
    assert drawn == space.sub_network(sample(space, np.random.default_rng(3)))


def test_bins_without_a_sub_network_are_never_drawn() -> None:
    """Three sizes of a single choice reach three bins of eight."""
    space = space_of("uniform", heads="fixed", neurons_multiple_of=128)
    sampler = CalibratedSampler.over(space, units, num_bins=NUM_BINS, seed=0)
    sizes = [units(space.sub_network((index,))) for index in range(len(space.choices[0].sizes))]
    assert sorted(sampler.bins) == sorted({sampler.bin_of(size) for size in sizes})
    assert {units(sampler.draw(np.random.default_rng(seed))) for seed in range(40)} == set(sizes)


@pytest.mark.parametrize("min_share", [0.0, 0.1])
def test_the_smallest_is_the_space_s_where_nothing_is_below_the_bins(min_share: float) -> None:
    space = space_of("uniform", neurons_multiple_of=128)
    least = space.sub_network(smallest(space))
    assert units(least) > 0.1 * units(SubNetwork.full(SHAPE))
    sampler = CalibratedSampler.over(space, units, num_bins=NUM_BINS, seed=0, min_share=min_share)
    assert sampler.smallest(np.random.default_rng(0)) == least
    assert RandomSampler(space=space).smallest(np.random.default_rng(0)) == least


def test_below_the_floor_nothing_is_drawn() -> None:
    space, full = space_of("joint", neurons_multiple_of=32), units(SubNetwork.full(SHAPE))
    sampler = CalibratedSampler.over(space, units, num_bins=4, seed=0, min_share=0.6)
    rng = np.random.default_rng(0)
    shares = [units(sampler.draw(rng)) / full for _ in range(NUM_DRAWN)]
    lowest = [units(sampler.smallest(rng)) / full for _ in range(40)]
    assert min(*shares, *lowest) >= 0.6
    assert max(lowest) < 0.7 <= max(shares)
    assert len(set(lowest)) > 1
    deviation = (NUM_DRAWN / 4 * 3 / 4) ** 0.5
    counted = np.histogram(shares, bins=(0.6, 0.7, 0.8, 0.9, 1.01))[0]
    assert all(abs(count - NUM_DRAWN / 4) < 4 * deviation for count in counted)


def test_the_edges_belong_to_bins() -> None:
    space = space_of("joint", neurons_multiple_of=32)
    sampler = CalibratedSampler.over(space, units, num_bins=NUM_BINS, seed=0)
    assert [sampler.bin_of(edge) for edge in sampler.edges] == [*range(NUM_BINS), NUM_BINS - 1]


def test_one_cost_for_all_is_refused() -> None:
    with pytest.raises(SamplingError, match="sub-networks of different cost, got 1 for the smallest and 1 for"):
        CalibratedSampler.over(space_of("joint"), lambda _: 1.0, num_bins=4, seed=0)
