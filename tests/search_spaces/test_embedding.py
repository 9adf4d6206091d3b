"""Bands of tokens: what their factors hold, and how a vocabulary is split."""

from dataclasses import replace
from itertools import pairwise

import pytest

from search_spaces.embedding import Band, BandWeights, band_sizes
from search_spaces.low_rank import bands_kept
from search_spaces.sub_network import SubNetwork
from tests.search_spaces.spaces import GQA


def test_from_break_even_on_rows_are_held_whole() -> None:
    band = Band(num_tokens=60, rank=12)  # 12 (60 + 15) = 60 * 15
    assert band.break_even_rank(15) == 12
    assert band.held_rank(15) == 0
    assert Band(num_tokens=60, rank=11).held_rank(15) == 11
    assert band.full_rank(15) == 15
    assert Band(num_tokens=4, rank=0).full_rank(15) == 4


def test_weights_are_those_of_tables_and_projections() -> None:
    bands = [Band(num_tokens=10, rank=0), Band(num_tokens=60, rank=11), Band(num_tokens=60, rank=12)]
    weights = BandWeights.of(bands, 15)
    assert weights.tables == 10 * 15 + 60 * 11 + 60 * 15
    assert weights.projections == 11 * 15
    assert weights.total == weights.tables + weights.projections


@pytest.mark.parametrize(("vocab_size", "num_bands"), [(96, 1), (96, 2), (4096, 3), (30522, 4), (10, 2), (42, 3)])
def test_each_band_is_about_four_times_the_one_before(vocab_size: int, num_bands: int) -> None:
    sizes = band_sizes(vocab_size, num_bands)
    assert len(sizes) == num_bands
    assert sum(sizes) == vocab_size
    assert sizes[0] >= 2
    assert all(abs(after - 4 * before) <= 8 for before, after in pairwise(sizes))


@pytest.mark.parametrize(("vocab_size", "num_bands", "most"), [(41, 3, 2), (9, 2, 1), (96, 0, 3), (96, 4, 3)])
def test_too_many_bands(vocab_size: int, num_bands: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"{vocab_size} tokens must be split into 1 to {most} bands, got {num_bands}"):
        band_sizes(vocab_size, num_bands)


@pytest.mark.parametrize(("num_tokens", "rank"), [(0, 1), (3, -1)])
def test_a_band_holds_tokens_and_has_a_rank(num_tokens: int, rank: int) -> None:
    with pytest.raises(ValueError, match="must hold a token and have a rank of at least 0, got Band"):
        Band(num_tokens=num_tokens, rank=rank)


def test_the_share_that_bands_keep() -> None:
    full = SubNetwork.full(replace(GQA, vocab_size=60))
    assert bands_kept(full) == 1
    banded = replace(full, bands=(Band(num_tokens=10, rank=0), Band(num_tokens=50, rank=4)))
    assert bands_kept(banded) == (10 * 16 + 4 * (50 + 16)) / (60 * 16)
