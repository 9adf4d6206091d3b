"""Sub-networks whose embedding is in bands."""

from collections.abc import Sequence
from dataclasses import replace

from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import VOCAB_SIZE

Bands = Sequence[tuple[int, int]]
BELOW_BREAK_EVEN: Bands = [(VOCAB_SIZE, 5)]
ABOVE_BREAK_EVEN: Bands = [(VOCAB_SIZE, 28)]
SEVERAL: Bands = [(6, 0), (20, 3), (30, 18), (40, 9)]
"""Whole rows, a low rank, a rank above break-even, a low rank."""
KINDS: dict[str, Bands] = {"below": BELOW_BREAK_EVEN, "above": ABOVE_BREAK_EVEN, "several": SEVERAL}


def in_bands(supernet: Supernet, bands: Bands, base: SubNetwork | None = None) -> SubNetwork:
    """With all units, or those of ``base``."""
    kept = tuple(Band(num_tokens=num_tokens, rank=rank) for num_tokens, rank in bands)
    return replace(base or SubNetwork.full(supernet.shape), bands=kept)
